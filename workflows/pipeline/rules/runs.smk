# A run for each method x held-out site x seed x fold; all of them are independent of one another, but
# the refit of a cross-validation, which waits for its folds and is reported with them.


rule train:
    input:
        lambda wildcards: trained_before(JOB, CELLS[wildcards.cell]),
    output:
        touch("workflow/trained/{cell}.done"),
    log:
        "workflow/logs/train/{cell}.log",
    benchmark:
        "workflow/benchmarks/train/{cell}.tsv"
    retries: 1
    threads: 1
    resources:
        mem_mb=more_memory(4000),
        runtime=1440,
        gpu=JOB.configuration.cells.gpus,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
        choice=lambda wildcards: CELLS[wildcards.cell].options(),
        settings=settings_of(JOB, "train"),
    shell:
        "OMP_NUM_THREADS={threads} {params.offsite} train {params.config} {params.choice}"
        " > {log} 2>&1 || (tail -n 20 {log} >&2; false)"


rule evaluate:
    input:
        "workflow/trained/{cell}.done",
    output:
        report(
            "runs/{cell}/evaluation/report.html",
            caption="../report/site.rst",
            category="Results by site",
            labels={"run": "{cell}"},
        ),
    log:
        "workflow/logs/evaluate/{cell}.log",
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=60,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
        settings=settings_of(JOB, "evaluate"),
    shell:
        "{params.offsite} evaluate runs/{wildcards.cell} --job {params.config} > {log} 2>&1"
        " || (tail -n 20 {log} >&2; false)"
