rule analyze:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        model=of_model("model.safetensors"),
        latents=of_model("latents.parquet"),
        linear=linear_of_network("latents.parquet"),
        same=same_as("analysis"),
    output:
        latents="<results>/branches/{branch}/analysis/latents.parquet",
        clusters="<results>/branches/{branch}/analysis/clusters.parquet",
        summary="<results>/branches/{branch}/analysis/analysis.json",
        volumes=directory("<results>/branches/{branch}/analysis/volumes"),
    log:
        "<logs>/branches/{branch}/analyze.log",
    benchmark:
        "<benchmarks>/branches/{branch}/analyze.tsv"
    resources:
        gpu=0,
    params:
        settings=branch_settings("analysis"),
        version=STEP_FORMAT["analysis"],
        same_as=same_as_flag("analysis"),
        model=subpath(input.model, parent=True),
        linear=folder_flag("linear", "linear"),
        out=subpath(output.summary, parent=True),
    message:
        "{wildcards.branch}: clusters and volumes"
    shell:
        "python -m tomopipe analyze {input.store} {params.model} --particles {input.selected} "
        "--out {params.out} {params.linear} {params.same_as} --settings {params.settings:q} "
        "--threads {threads} &> {log}"


rule classes:
    input:
        store=of_dataset("store"),
        clusters="<results>/branches/{branch}/analysis/clusters.parquet",
        volumes="<results>/branches/{branch}/analysis/volumes",
        same=same_as("classes"),
    output:
        folder=directory("<results>/branches/{branch}/classes"),
    log:
        "<logs>/branches/{branch}/classes.log",
    benchmark:
        "<benchmarks>/branches/{branch}/classes.tsv"
    resources:
        gpu=0,
    params:
        settings=branch_settings("classes"),
        version=STEP_FORMAT["classes"],
        same_as=same_as_flag("classes"),
        analysis=subpath(input.clusters, parent=True),
        device=device_flag,
    message:
        "{wildcards.branch}: every cluster's own map against the model"
    shell:
        "python -m tomopipe classes {input.store} {params.analysis} --out {output.folder} "
        "{params.same_as} --settings {params.settings:q} {params.device} --threads {threads} "
        "&> {log}"


rule junk:
    input:
        store=of_dataset("store"),
        latents=of_model("latents.parquet"),
        clusters="<results>/branches/{branch}/analysis/clusters.parquet",
        consensus="<results>/branches/{branch}/consensus/map.mrc",
        same=same_as("junk"),
    output:
        evidence="<results>/branches/{branch}/junk.parquet",
        particles="<results>/branches/{branch}/junk_particles.parquet",
    log:
        "<logs>/branches/{branch}/junk.log",
    benchmark:
        "<benchmarks>/branches/{branch}/junk.tsv"
    params:
        settings=branch_settings("junk"),
        version=STEP_FORMAT["junk"],
        same_as=same_as_flag("junk"),
        model=subpath(input.latents, parent=True),
        analysis=subpath(input.clusters, parent=True),
        consensus=subpath(input.consensus, parent=True),
    message:
        "{wildcards.branch}: judging every cluster"
    shell:
        "python -m tomopipe junk {input.store} --model {params.model} --analysis {params.analysis} "
        "--consensus {params.consensus} --out {output.evidence} {params.same_as} "
        "--settings {params.settings:q} --threads {threads} &> {log}"


# A local job, because only of those does Snakemake bring an output back that it updates: of a job
# of SLURM that fails it would remove the file, with what a person has decided in it.


rule decide:
    input:
        evidence="<results>/branches/{branch}/junk.parquet",
        particles="<results>/branches/{branch}/junk_particles.parquet",
        same=same_as("junk", "selection.yaml"),
    output:
        # update: a decision that a person has made stays there for the verb to see and keep
        selection=update("<results>/branches/{branch}/selection.yaml"),
    log:
        "<logs>/branches/{branch}/decide.log",
    benchmark:
        "<benchmarks>/branches/{branch}/decide.tsv"
    localrule: True
    params:
        version=STEP_FORMAT["decide"],
        same_as=same_as_flag("junk"),
        branch=subpath(output.selection, parent=True),
    message:
        "{wildcards.branch}: decisions on its clusters"
    shell:
        "python -m tomopipe decide {params.branch} {params.same_as} --threads {threads} &> {log}"


rule agreement:
    input:
        clusters=of_replicates("clusters.parquet"),
        latents=of_replicates("latents.parquet"),
    output:
        record="<results>/branches/{branch}/agreement/agreement.json",
        particles="<results>/branches/{branch}/agreement/agreement.parquet",
    log:
        "<logs>/branches/{branch}/agreement.log",
    benchmark:
        "<benchmarks>/branches/{branch}/agreement.tsv"
    params:
        version=STEP_FORMAT["agreement"],
        analyses=lambda wildcards, input: [str(Path(file).parent) for file in input.clusters],
        out=subpath(output.record, parent=True),
    message:
        "{wildcards.branch}: do its replicates agree?"
    shell:
        "python -m tomopipe agreement {params.analyses} --out {params.out} "
        "--threads {threads} &> {log}"


rule export:
    input:
        source=of_dataset("import.json"),
        selected="<results>/branches/{branch}/selected.parquet",
        clusters="<results>/branches/{branch}/analysis/clusters.parquet",
        selection=of_branch("junk", "selection.yaml"),
    output:
        folder=directory("<results>/branches/{branch}/export"),
    log:
        "<logs>/branches/{branch}/export.log",
    benchmark:
        "<benchmarks>/branches/{branch}/export.tsv"
    params:
        settings=branch_settings("export"),
        version=STEP_FORMAT["export"],
        dataset=subpath(input.source, parent=True),
        branch=subpath(input.selected, parent=True),
        decided=lambda wildcards, input: "" if input.selection else "--no-decisions",
    message:
        "{wildcards.branch}: STAR files for RELION, M and WarpTools"
    shell:
        "python -m tomopipe export {params.dataset} {params.branch} --out {output.folder} "
        "{params.decided} --settings {params.settings:q} --threads {threads} &> {log}"
