rule recover:
    input:
        truth=[f"<results>/{CONFIG.truth_of(name)}/truth.parquet" for name in SIMULATED],
        stages=stage_files,
    output:
        recovery="<results>/recovery.json",
    log:
        "<logs>/recover.log",
    benchmark:
        "<benchmarks>/recover.tsv"
    params:
        config=CONFIG.model_dump_json(by_alias=True, exclude_unset=True),
        version=STEP_FORMAT["recovery"],
        results=subpath(output.recovery, parent=True),
    message:
        "comparing with the truth of the simulation"
    shell:
        "python -m tomopipe recover {params.results} --config {params.config:q} "
        "--out {output.recovery} --threads {threads} &> {log}"


rule report:
    input:
        stages=stage_files,
        recovery="<results>/recovery.json" if SIMULATED else [],
    output:
        html=report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"what": "all branches"},
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    params:
        config=CONFIG.model_dump_json(by_alias=True, exclude_unset=True),
        version=STEP_FORMAT["report"],
        results=subpath(output.html, parent=True),
    message:
        "writing the report"
    shell:
        "python -m tomopipe report {params.results} --config {params.config:q} --out {output.html} "
        "--threads {threads} &> {log}"
