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


def stamp(made, *paths, downloads=()):
    """What a user's files hold: changed ones re-run the step that reads them and leaves `made`.

    For files of a download its record does so, before and after they are there.
    """
    folders = {CONFIG.downloads[name].folder.absolute(): name for name in downloads}
    given = [Path(path) for path in paths if path]
    homes = {path: [f for f in folders if path.absolute().is_relative_to(f)] for path in given}
    loaded = [folders[home[0]] for home in homes.values() if home]
    others = [path for path, home in homes.items() if not home]
    return [*loaded, WATCH.stamp(others, Path(CONFIG.results) / made)]


def simulation_stamp(kind):
    """A params function: stamp of the maps and models that a simulation is made of."""

    def of(wildcards):
        (name,) = wildcards
        files = getattr(CONFIG, kind)[name].simulate.files
        return stamp(f"{kind}/{name}/simulated/simulation.json", *files)

    return of


def particles_stamp(wildcards):
    """Stamp of the STAR files of a data set, those of the user."""
    name, dataset = wildcards.dataset, CONFIG.datasets[wildcards.dataset]
    files = dataset.particles, dataset.import_.tomograms
    return stamp(f"datasets/{name}/import.json", *files, downloads=CONFIG.downloads_of(name))


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


def extraction_stamp(wildcards):
    """Stamp of the user's files: alignments and what goes with them, and the particles."""
    name, extract = wildcards.dataset, CONFIG.datasets[wildcards.dataset].extract
    series = CONFIG.tilt_series[extract.tilt_series]
    files = series.path, series.read.exposure_list, series.read.ctf, extract.particles
    made = f"datasets/{name}/extracted/parts/{wildcards.part}/part.json"
    return stamp(made, *files, downloads=CONFIG.downloads_of(name))


def extract_settings(wildcards):
    """How to cut, and how to read what is cut, as JSON."""
    extract = CONFIG.datasets[wildcards.dataset].extract
    return extract.settings(CONFIG.tilt_series[extract.tilt_series].read).model_dump_json()


def extraction_parts(wildcards):
    jobs = CONFIG.datasets[wildcards.dataset].extract.jobs
    folder = f"<results>/datasets/{wildcards.dataset}/extracted/parts"
    return [f"{folder}/{i}_of_{jobs}/part.json" for i in range(jobs)]


def dataset_settings(section):
    """A params function: one section of the data set, as JSON, without what changes no result."""

    def of(wildcards):
        settings = getattr(CONFIG.datasets[wildcards.dataset], section)
        return settings.model_dump_json(exclude=settings.undeciding())

    return of


def reading_workers(wildcards, threads):
    """Processes that read stacks. Params that look at threads re-run nothing when they change."""
    return CONFIG.datasets[wildcards.dataset].prepare.workers or threads


def branch_settings(stage):
    """A params function: one section of the branch, as JSON."""

    def of(wildcards):
        return CONFIG.branches[wildcards.branch].settings(stage).model_dump_json()

    return of


def deciding_settings(stage):
    """A params function: the settings without those that change no result."""

    def of(wildcards):
        section = CONFIG.branches[wildcards.branch].settings(stage)
        return section.model_dump_json(exclude=section.undeciding())

    return of


def all_settings(stage):
    """A params function: all of them. Params that look at resources re-run nothing."""
    return lambda wildcards, resources: branch_settings(stage)(wildcards)


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


def linear_of_network(file):
    """An input function: a file of the linear model beside the network that is analysed.

    `fit` keeps its own in its folder.
    """

    def path(wildcards):
        branch = CONFIG.branches[wildcards.branch]
        beside = branch.model == "heterogeneous" and "linear" in branch.stages
        return f"<results>/branches/{wildcards.branch}/linear/{file}" if beside else []

    return path


def same_as(stage, file=None):
    """An input function: a stage's result that this branch takes over where it is the same."""

    def path(wildcards):
        source = taken_from(wildcards.branch, CONFIG.branches[wildcards.branch], stage)
        return f"<results>/branches/{source}/{file or RESULTS[stage]}" if source else []

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


def gpu_of(stage):
    """A resources function: a GPU for a training, unless its settings keep it on the CPU."""
    return lambda wildcards: int(CONFIG.branches[wildcards.branch].settings(stage).wants_gpu)


def launcher(wildcards, resources):
    """How the verbs that can share their work are started: one process for each of many GPUs.

    Params that look at resources or threads re-run nothing when those change.
    """
    gpus = gpus_of(resources)
    if gpus <= 1:
        return "python -m tomopipe"
    return f"python -m torch.distributed.run --standalone --nproc-per-node={gpus} -m tomopipe"


def threads_each(wildcards, resources, threads):
    """Threads of one process."""
    return max(1, threads // max(1, gpus_of(resources)))


def gpus_of(resources):
    """GPUs of a job, asked for as `gpu` or in words of the cluster: `gres: "gpu:a100:4"`."""
    named = re.search(r"gpu(?::[A-Za-z]\w*)?(?::(\d+))?", str(resources.get("gres", "")))
    return resources.get("gpu", 0) or (int(named[1] or 1) if named else 0)


def device_flag(wildcards, resources):
    """A job that asked for no GPU, in either way, leaves those it sees to others."""
    return "" if gpus_of(resources) else "--device cpu"


def select_settings(wildcards):
    select = CONFIG.select_of(wildcards.branch)
    return select.model_dump_json(exclude_none=True) if select else "{}"


def selection_stamp(wildcards):
    """Stamp of the files that a branch's `select` names, also in selections inside it."""
    select = CONFIG.branches[wildcards.branch].select
    files = [part.file for part in select.parts()] if select else []
    return stamp(f"branches/{wildcards.branch}/selected.parquet", *files)


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
    """One file or folder of every stage of every branch that can run, and what goes with them."""
    return [
        f"<results>/branches/{name}/{file}" for name in CONFIG.ready for file in branch_files(name)
    ]


def branch_files(name):
    stages = CONFIG.branches[name].stages
    decided = ["selection.yaml"] if "junk" in stages else []
    agreed = ["agreement/agreement.json"] if replicates_of(CONFIG.branches, name) else []
    return ["selected.parquet", *(RESULTS[stage] for stage in stages), *decided, *agreed]
