rule simulate:
    output:
        star="<results>/datasets/{dataset}/simulated/particles.star",
        truth="<results>/datasets/{dataset}/simulated/truth.parquet",
        record="<results>/datasets/{dataset}/simulated/simulation.json",
        maps=directory("<results>/datasets/{dataset}/simulated/truth"),
    log:
        "<logs>/datasets/{dataset}/simulate.log",
    benchmark:
        "<benchmarks>/datasets/{dataset}/simulate.tsv"
    params:
        settings=dataset_settings("simulate"),
        version=STEP_FORMAT["simulate"],
        out=subpath(output.star, parent=True),
    message:
        "{wildcards.dataset}: simulating particles with known truth"
    shell:
        "python -m tomopipe simulate particles --out {params.out} "
        "--settings {params.settings:q} --threads {threads} &> {log}"


rule import_particles:
    input:
        star=made_star,
    output:
        particles="<results>/datasets/{dataset}/particles.parquet",
        images="<results>/datasets/{dataset}/images.parquet",
        record="<results>/datasets/{dataset}/import.json",
        source=directory("<results>/datasets/{dataset}/source"),
    log:
        "<logs>/datasets/{dataset}/import.log",
    benchmark:
        "<benchmarks>/datasets/{dataset}/import.tsv"
    params:
        star=star,
        stamp=lambda wildcards: stamp(CONFIG.datasets[wildcards.dataset].particles),
        settings=dataset_settings("import_"),
        version=STEP_FORMAT["import"],
        out=subpath(output.particles, parent=True),
    message:
        "{wildcards.dataset}: importing particles"
    shell:
        "python -m tomopipe import {params.star:q} --out {params.out} "
        "--settings {params.settings:q} --threads {threads} &> {log}"


rule prepare:
    input:
        particles="<results>/datasets/{dataset}/particles.parquet",
        images="<results>/datasets/{dataset}/images.parquet",
        record="<results>/datasets/{dataset}/import.json",
    output:
        store=directory("<results>/datasets/{dataset}/store"),
    log:
        "<logs>/datasets/{dataset}/prepare.log",
    benchmark:
        "<benchmarks>/datasets/{dataset}/prepare.tsv"
    params:
        settings=dataset_settings("prepare"),
        version=STEP_FORMAT["prepare"],
        dataset=subpath(input.particles, parent=True),
    message:
        "{wildcards.dataset}: packing images"
    shell:
        "python -m tomopipe prepare {params.dataset} --out {output.store} "
        "--settings {params.settings:q} --workers {threads} --threads {threads} &> {log}"
