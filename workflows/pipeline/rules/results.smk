# One writer logs all runs to MLflow; then methods are compared and the best is registered.


localrules:
    all,
    joined,


REPORTS = expand("runs/{cell}/evaluation/report.html", cell=REPORTED)


rule track:
    input:
        REPORTS,
    output:
        touch("workflow/tracked.done"),
    log:
        "workflow/logs/track.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
    shell:
        "{params.offsite} workflow track {params.config} > {log} 2>&1 || (tail -n 20 {log} >&2; false)"


rule compare:
    input:
        REPORTS,
    output:
        touch("workflow/compared.done"),
    log:
        "workflow/logs/compare.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
    shell:
        "{params.offsite} compare {params.config} > {log} 2>&1 || (tail -n 20 {log} >&2; false)"


rule register:
    input:
        "workflow/tracked.done",
    output:
        "workflow/registered.txt",
    log:
        "workflow/logs/register.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
    shell:
        "{params.offsite} model register {params.config} > {output} 2> {log} || (tail -n 20 {log} >&2; false)"
