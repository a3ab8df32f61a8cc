rule select:
    input:
        unpack(selection_sources),
    output:
        selected="<results>/branches/{branch}/selected.parquet",
    log:
        "<logs>/branches/{branch}/select.log",
    benchmark:
        "<benchmarks>/branches/{branch}/select.tsv"
    params:
        settings=select_settings,
        version=STEP_FORMAT["select"],
        stamp=selection_stamp,
        dataset=subpath(input.particles, parent=True),
        parent=folder_flag("parent", "selected"),
    message:
        "{wildcards.branch}: selecting particles"
    shell:
        "python -m tomopipe select {params.dataset} {params.parent} --out {output.selected} "
        "--settings {params.settings:q} &> {log}"
