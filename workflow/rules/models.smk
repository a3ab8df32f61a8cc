rule consensus:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        same=same_as("consensus"),
    output:
        map="<results>/branches/{branch}/consensus/map.mrc",
        half1="<results>/branches/{branch}/consensus/half1.mrc",
        half2="<results>/branches/{branch}/consensus/half2.mrc",
        mask="<results>/branches/{branch}/consensus/mask.mrc",
        fsc="<results>/branches/{branch}/consensus/fsc.csv",
        record="<results>/branches/{branch}/consensus/consensus.json",
    log:
        "<logs>/branches/{branch}/consensus.log",
    benchmark:
        "<benchmarks>/branches/{branch}/consensus.tsv"
    resources:
        gpu=0,
    params:
        settings=branch_settings("consensus"),
        version=STEP_FORMAT["consensus"],
        same_as=same_as_flag("consensus"),
        out=subpath(output.record, parent=True),
        device=device_flag,
    message:
        "{wildcards.branch}: consensus map and half-maps"
    shell:
        "python -m tomopipe consensus {input.store} --particles {input.selected} "
        "--out {params.out} {params.same_as} --settings {params.settings:q} {params.device} "
        "--threads {threads} &> {log}"


rule linear:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        same=same_as("linear"),
    output:
        model="<results>/branches/{branch}/linear/model.safetensors",
        config="<results>/branches/{branch}/linear/config.json",
        latents="<results>/branches/{branch}/linear/latents.parquet",
        spectrum="<results>/branches/{branch}/linear/spectrum.csv",
        metrics="<results>/branches/{branch}/linear/metrics.jsonl",
    log:
        "<logs>/branches/{branch}/linear.log",
    benchmark:
        "<benchmarks>/branches/{branch}/linear.tsv"
    resources:
        gpu=0,  # quick on a few cores; profiles give large sets as many GPUs as they like
    params:
        deciding=deciding_settings("linear"),
        settings=all_settings("linear"),
        version=STEP_FORMAT["linear"],
        same_as=same_as_flag("linear"),
        out=subpath(output.model, parent=True),
        launch=launcher,
        device=device_flag,
        cores=threads_each,
    message:
        "{wildcards.branch}: linear model of heterogeneity"
    shell:
        "{params.launch} linear {input.store} --particles {input.selected} "
        "--out {params.out} {params.same_as} --settings {params.settings:q} {params.device} "
        "--threads {params.cores} &> {log}"


rule fit:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        same=same_as("fit"),
    output:
        model="<results>/branches/{branch}/fit/model.safetensors",
        config="<results>/branches/{branch}/fit/config.json",
        latents="<results>/branches/{branch}/fit/latents.parquet",
        clusters="<results>/branches/{branch}/fit/clusters.parquet",
        record="<results>/branches/{branch}/fit/fit.json",
    log:
        "<logs>/branches/{branch}/fit.log",
    benchmark:
        "<benchmarks>/branches/{branch}/fit.tsv"
    resources:
        gpu=gpu_of("fit"),
    params:
        deciding=deciding_settings("fit"),
        settings=all_settings("fit"),
        version=STEP_FORMAT["fit"],
        same_as=same_as_flag("fit"),
        out=subpath(output.record, parent=True),
        state=lambda wildcards, output: f"{Path(output.record).parent}.state",
        device=device_flag,
    message:
        "{wildcards.branch}: linear model, network where it pays, and clusters"
    shell:
        "python -m tomopipe fit {input.store} --particles {input.selected} --out {params.out} "
        "--state {params.state} {params.same_as} --settings {params.settings:q} {params.device} "
        "--threads {threads} &> {log}"


# The state of a training is no declared output: those are deleted when a job fails or runs out of
# time, and from the state it goes on.


rule homogeneous:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        consensus=of_branch("consensus", "consensus/map.mrc"),
        same=same_as("homogeneous"),
    output:
        model="<results>/branches/{branch}/homogeneous/model.safetensors",
        config="<results>/branches/{branch}/homogeneous/config.json",
        metrics="<results>/branches/{branch}/homogeneous/metrics.jsonl",
        map="<results>/branches/{branch}/homogeneous/map.mrc",
    log:
        "<logs>/branches/{branch}/homogeneous.log",
    benchmark:
        "<benchmarks>/branches/{branch}/homogeneous.tsv"
    resources:
        gpu=gpu_of("homogeneous"),
    params:
        deciding=deciding_settings("homogeneous"),
        settings=all_settings("homogeneous"),
        version=STEP_FORMAT["homogeneous"],
        same_as=same_as_flag("homogeneous"),
        out=subpath(output.model, parent=True),
        launch=launcher,
        cores=threads_each,
        state=lambda wildcards, output: f"{Path(output.model).parent}.state",
        consensus=folder_flag("consensus", "consensus"),
    message:
        "{wildcards.branch}: neural map of all particles"
    shell:
        "{params.launch} train {input.store} --model homogeneous --particles {input.selected} "
        "{params.consensus} --state {params.state} --out {params.out} "
        "{params.same_as} --settings {params.settings:q} --threads {params.cores} &> {log}"


rule heterogeneous:
    input:
        store=of_dataset("store"),
        selected="<results>/branches/{branch}/selected.parquet",
        consensus=of_branch("consensus", "consensus/map.mrc"),
        linear=of_branch("linear", "linear/model.safetensors"),
        same=same_as("heterogeneous"),
    output:
        model="<results>/branches/{branch}/heterogeneous/model.safetensors",
        config="<results>/branches/{branch}/heterogeneous/config.json",
        metrics="<results>/branches/{branch}/heterogeneous/metrics.jsonl",
        latents="<results>/branches/{branch}/heterogeneous/latents.parquet",
        snapshots=directory("<results>/branches/{branch}/heterogeneous/snapshots"),
    log:
        "<logs>/branches/{branch}/heterogeneous.log",
    benchmark:
        "<benchmarks>/branches/{branch}/heterogeneous.tsv"
    resources:
        gpu=gpu_of("heterogeneous"),
    params:
        deciding=deciding_settings("heterogeneous"),
        settings=all_settings("heterogeneous"),
        version=STEP_FORMAT["heterogeneous"],
        same_as=same_as_flag("heterogeneous"),
        out=subpath(output.model, parent=True),
        launch=launcher,
        cores=threads_each,
        state=lambda wildcards, output: f"{Path(output.model).parent}.state",
        consensus=folder_flag("consensus", "consensus"),
        linear=folder_flag("linear", "linear"),
    message:
        "{wildcards.branch}: neural model of heterogeneity"
    shell:
        "{params.launch} train {input.store} --model heterogeneous --particles {input.selected} "
        "{params.consensus} {params.linear} --state {params.state} --out {params.out} "
        "{params.same_as} --settings {params.settings:q} --threads {params.cores} &> {log}"


rule convergence:
    input:
        model="<results>/branches/{branch}/heterogeneous/model.safetensors",
        metrics="<results>/branches/{branch}/heterogeneous/metrics.jsonl",
        snapshots="<results>/branches/{branch}/heterogeneous/snapshots",
        same=same_as("convergence"),
    output:
        folder=directory("<results>/branches/{branch}/convergence"),
    log:
        "<logs>/branches/{branch}/convergence.log",
    benchmark:
        "<benchmarks>/branches/{branch}/convergence.tsv"
    params:
        settings=branch_settings("convergence"),
        version=STEP_FORMAT["convergence"],
        same_as=same_as_flag("convergence"),
        model=subpath(input.model, parent=True),
    message:
        "{wildcards.branch}: has the training converged?"
    shell:
        "python -m tomopipe convergence {params.model} --out {output.folder} "
        "{params.same_as} --settings {params.settings:q} --threads {threads} &> {log}"
