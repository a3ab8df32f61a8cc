"""Functions that rules ask for their inputs and params."""


def made_star(wildcards):
    """A user's file is no declared input, so that a plan can be made before the data is there."""
    folder, dataset = f"<results>/datasets/{wildcards.dataset}", CONFIG.datasets[wildcards.dataset]
    if dataset.extract:
        return f"{folder}/extracted/optimisation_set.star"
    return f"{folder}/simulated/particles.star" if dataset.simulate else []


def downloaded(wildcards):
    """Records of the downloads that a data set is made from."""
    return [f"<results>/downloads/{d}.json" for d in CONFIG.downloads_of(wildcards.dataset)]


def download_settings(wildcards):
    """Which files, as JSON."""
    return json.dumps(CONFIG.downloads[wildcards.download].choice())


def transfer_flags(wildcards, resources):
    """How they are loaded. Params that look at resources re-run nothing when they change."""
    return CONFIG.downloads[wildcards.download].transfer_flags()


def star(wildcards, input):
    """The STAR file that is imported: the user's, the simulator's, or that of the extraction."""
    return CONFIG.datasets[wildcards.dataset].particles or str(input.star)


def stamp(path, dataset=None):
    """Size and time of a user's file: a changed file re-runs the step that reads it.

    For a file of a download of the data set its record does so, before and after it is there.
    """
    for download in CONFIG.downloads_of(dataset) if path and dataset else ():
        if Path(path).absolute().is_relative_to(CONFIG.downloads[download].folder.absolute()):
            return f"of {download}"
    stat = Path(path).stat() if path and Path(path).exists() else None
    return f"{stat.st_size} {stat.st_mtime_ns}" if stat else "absent"


def particles_stamp(wildcards):
    return stamp(CONFIG.datasets[wildcards.dataset].particles, wildcards.dataset)


def extraction_sources(wildcards):
    """What a data set is cut out of, as far as this run makes it."""
    extract = CONFIG.datasets[wildcards.dataset].extract
    simulated = f"<results>/tilt_series/{extract.tilt_series}/simulated"
    sources = {"downloaded": downloaded(wildcards)}
    if CONFIG.tilt_series[extract.tilt_series].simulate:
        sources["series"] = f"{simulated}/tomograms.star"
        sources["stacks"] = f"{simulated}/tilt_series"
        sources["record"] = f"{simulated}/simulation.json"
        if extract.particles is None:
            sources["particles"] = f"{simulated}/particles.star"
    if extract.keep:
        sources["keep"] = f"<results>/branches/{extract.keep}/selected.parquet"
    return sources


def extracted_series(wildcards, input):
    """Where the aligned tilt series lie: the user's, or the simulator's."""
    extract = CONFIG.datasets[wildcards.dataset].extract
    return CONFIG.tilt_series[extract.tilt_series].path or str(input.series)


def extracted_particles(wildcards, input):
    """Coordinates and poses: the user's, or the simulator's."""
    return CONFIG.datasets[wildcards.dataset].extract.particles or str(input.particles)


def extraction_stamps(wildcards):
    """Stamps of the user's files."""
    extract = CONFIG.datasets[wildcards.dataset].extract
    files = CONFIG.tilt_series[extract.tilt_series].path, extract.particles
    return [stamp(file, wildcards.dataset) for file in files]


def extract_settings(wildcards):
    """How to cut, and how to read what is cut, as JSON."""
    extract = CONFIG.datasets[wildcards.dataset].extract
    return extract.settings(CONFIG.tilt_series[extract.tilt_series].read).model_dump_json()


def extraction_parts(wildcards):
    jobs = CONFIG.datasets[wildcards.dataset].extract.jobs
    folder = f"<results>/datasets/{wildcards.dataset}/extracted/parts"
    return [f"{folder}/{i}_of_{jobs}/part.json" for i in range(jobs)]


def dataset_settings(section):
    """A params function: one section of the data set, as JSON; `workers` follows the threads."""

    def of(wildcards):
        settings = getattr(CONFIG.datasets[wildcards.dataset], section)
        return settings.model_dump_json(exclude={"workers"})

    return of


def branch_settings(stage):
    """A params function: one section of the branch, as JSON."""

    def of(wildcards):
        return CONFIG.branches[wildcards.branch].settings(stage).model_dump_json()

    return of


def of_dataset(file):
    """An input function: a file of the branch's data set."""
    return lambda wildcards: f"<results>/datasets/{CONFIG.dataset_of(wildcards.branch)}/{file}"


def of_branch(stage, file):
    """An input function: a file of an earlier stage, where the branch has that stage."""

    def path(wildcards):
        ran = stage in CONFIG.branches[wildcards.branch].stages
        return f"<results>/branches/{wildcards.branch}/{file}" if ran else []

    return path


def of_model(file):
    """An input function: a file of the model that is analysed, the branch's last."""
    return lambda wildcards: (
        f"<results>/branches/{wildcards.branch}/{CONFIG.branches[wildcards.branch].model}/{file}"
    )


def same_as(stage):
    """An input function: a stage's result that this branch takes over where it is the same."""

    def path(wildcards):
        source = taken_from(wildcards.branch, CONFIG.branches[wildcards.branch], stage)
        return f"<results>/branches/{source}/{RESULTS[stage]}" if source else []

    return path


def same_as_flag(stage):
    """A params function: `--same-as FOLDER` of the branch that has that result."""

    def flag(wildcards):
        source = taken_from(wildcards.branch, CONFIG.branches[wildcards.branch], stage)
        return f"--same-as {CONFIG.results}/branches/{source}" if source else ""

    return flag


def of_replicates(file):
    """An input function: a file of the analyses of all replicates, the branch's own first."""
    return lambda wildcards: [
        f"<results>/branches/{name}/analysis/{file}"
        for name in replicates_of(CONFIG.branches, wildcards.branch)
    ]


def folder_flag(flag, item):
    """A params function: `--flag FOLDER` of an input that only some branches have."""
    return lambda wildcards, input: (
        f"--{flag} {Path(str(input.get(item))).parent}" if input.get(item) else ""
    )


def uses_gpu(wildcards):
    """Volumes of a neural model are decoded on a GPU, those of a linear one need none."""
    return int(CONFIG.branches[wildcards.branch].may_train)


def launcher(wildcards, resources):
    """How the verbs that can share their work are started: one process for each of many GPUs.

    Params that look at resources or threads re-run nothing when those change.
    """
    gpus = resources.get("gpu", 0)
    if gpus <= 1:
        return "python -m tomopipe"
    return f"python -m torch.distributed.run --standalone --nproc-per-node={gpus} -m tomopipe"


def threads_each(wildcards, resources, threads):
    """Threads of one process."""
    return max(1, threads // max(1, resources.get("gpu", 0)))


def device_flag(wildcards, resources):
    """A job that asked for no GPU leaves those it sees to others."""
    return "" if resources.get("gpu", 0) else "--device cpu"


def select_settings(wildcards):
    select = CONFIG.select_of(wildcards.branch)
    return select.model_dump_json(exclude_none=True) if select else "{}"


def selection_stamp(wildcards):
    """Stamps of the files that a branch's `select` names, also in selections inside it."""
    select = CONFIG.branches[wildcards.branch].select
    files = [part.file for part in select.parts() if part.file] if select else []
    return ", ".join(stamp(file) for file in files or [None])


def selection_sources(wildcards):
    """What `select` reads: the data set's particles and, for a child, its parent's findings."""
    branch = CONFIG.branches[wildcards.branch]
    dataset = CONFIG.dataset_of(wildcards.branch)
    sources = {"particles": f"<results>/datasets/{dataset}/particles.parquet"}
    if branch.parent:
        parent = f"<results>/branches/{branch.parent}"
        sources["selected"] = f"{parent}/selected.parquet"
        files = set().union(*CONFIG.select_reads(wildcards.branch).values())
        sources["findings"] = [f"{parent}/{file}" for file in sorted(files)]
    return sources


def stage_files(wildcards):
    """One file or folder of every stage of every branch that can run."""
    return [
        f"<results>/branches/{name}/{RESULTS[stage]}"
        for name in CONFIG.ready
        for stage in CONFIG.branches[name].stages
    ] + [
        f"<results>/branches/{name}/{file}"
        for name in CONFIG.ready
        for file in ("selected.parquet", "agreement/agreement.json")
        if file == "selected.parquet" or replicates_of(CONFIG.branches, name)
    ]
