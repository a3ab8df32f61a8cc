# Where jobs run there is often no network, so this one runs where snakemake does. What came of a
# download that broke off stays: only the record is an output, and those alone are deleted.


rule fetch:
    output:
        record="<results>/downloads/{download}.json",
    log:
        "<logs>/downloads/{download}.log",
    benchmark:
        "<benchmarks>/downloads/{download}.tsv"
    localrule: True
    params:
        settings=download_settings,
        version=STEP_FORMAT["fetch"],
        how=transfer_flags,
    message:
        "{wildcards.download}: loading files"
    shell:
        "python -m tomopipe fetch --settings {params.settings:q} {params.how:q} "
        "--record {output.record} --threads {threads} &> {log}"


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
        stamp=simulation_stamp("datasets"),
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
        downloaded=downloaded,
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
        stamp=particles_stamp,
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
        workers=reading_workers,
    message:
        "{wildcards.dataset}: packing images"
    shell:
        "python -m tomopipe prepare {params.dataset} --out {output.store} "
        "--settings {params.settings:q} --workers {params.workers} --threads {threads} &> {log}"
