from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# For the linter and the record: jobs run in the environment of snakemake itself.
container: "docker://python:3.11-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/slurm.smk"
include: "workflow/rules/tilt_series.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/branch.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        "<results>/report.html",
    localrule: True


onstart:
    check_before_start()


onsuccess:
    print(closing_words())
