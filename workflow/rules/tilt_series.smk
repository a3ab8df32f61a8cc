rule simulate_tilt_series:
    output:
        tomograms="<results>/tilt_series/{series}/simulated/tomograms.star",
        particles="<results>/tilt_series/{series}/simulated/particles.star",
        truth="<results>/tilt_series/{series}/simulated/truth.parquet",
        maps=directory("<results>/tilt_series/{series}/simulated/truth"),
        stacks=directory("<results>/tilt_series/{series}/simulated/tilt_series"),
        record="<results>/tilt_series/{series}/simulated/simulation.json",
    log:
        "<logs>/tilt_series/{series}/simulate.log",
    benchmark:
        "<benchmarks>/tilt_series/{series}/simulate.tsv"
    params:
        settings=lambda wildcards: CONFIG.tilt_series[wildcards.series].simulate.model_dump_json(),
        stamp=simulation_stamp("tilt_series"),
        version=STEP_FORMAT["simulate_tilt_series"],
        out=subpath(output.record, parent=True),
    message:
        "{wildcards.series}: simulating tilt series with known truth"
    shell:
        "python -m tomopipe simulate tilt-series --out {params.out} "
        "--settings {params.settings:q} --threads {threads} &> {log}"


# Each job takes every so many-th tomogram; stacks lie beside the parts, which say what is in them.


rule extract:
    input:
        unpack(extraction_sources),
    output:
        part="<results>/datasets/{dataset}/extracted/parts/{part}/part.json",
    log:
        "<logs>/datasets/{dataset}/extract_{part}.log",
    benchmark:
        "<benchmarks>/datasets/{dataset}/extract_{part}.tsv"
    params:
        series=extracted_series,
        particles=extracted_particles,
        stamp=extraction_stamp,
        settings=extract_settings,
        version=STEP_FORMAT["extract"],
        out=subpath(output.part, ancestor=3),
        part=lambda wildcards: wildcards.part.replace("_of_", "/"),
        keep=lambda wildcards, input: f"--select {input.keep}" if input.get("keep") else "",
    message:
        "{wildcards.dataset}: extracting particles, part {wildcards.part}"
    shell:
        "python -m tomopipe extract {params.series:q} --particles {params.particles:q} "
        "{params.keep} --out {params.out} --part {params.part} "
        "--settings {params.settings:q} --threads {threads} &> {log}"


rule join_extracted:
    input:
        parts=extraction_parts,
    output:
        set="<results>/datasets/{dataset}/extracted/optimisation_set.star",
        particles="<results>/datasets/{dataset}/extracted/particles.star",
        tomograms="<results>/datasets/{dataset}/extracted/tomograms.star",
        dropped="<results>/datasets/{dataset}/extracted/dropped.parquet",
        record="<results>/datasets/{dataset}/extracted/extract.json",
    log:
        "<logs>/datasets/{dataset}/join_extracted.log",
    benchmark:
        "<benchmarks>/datasets/{dataset}/join_extracted.tsv"
    params:
        version=STEP_FORMAT["extract"],
        out=subpath(output.record, parent=True),
        jobs=lambda wildcards: CONFIG.datasets[wildcards.dataset].extract.jobs,
    message:
        "{wildcards.dataset}: joining what was extracted"
    shell:
        "python -m tomopipe extract --join {params.jobs} --out {params.out} &> {log}"
