# Images to what a model reads, in shards: a shard is one process that isolates its failures.


rule images:
    input:
        lambda wildcards: before(JOB, wildcards.stage, int(wildcards.part)),
    output:
        touch("workflow/{stage}-{part}.done"),
    log:
        "workflow/logs/{stage}-{part}.log",
    retries: 2
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=120,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
        of=SHARDS,
        settings=lambda wildcards: settings_of(JOB, wildcards.stage)
        + braced(JOB, int(wildcards.part)),
    shell:
        # Exit code 3: done, but some images failed; each has its row with the reason.
        "{params.offsite} workflow {wildcards.stage} {params.config} --workers {threads}"
        " --part {wildcards.part}/{params.of} > {log} 2>&1 || test $? -eq 3"
        " || (tail -n 20 {log} >&2; false)"


rule joined:
    input:
        expand("workflow/{{stage}}-{part}.done", part=range(1, SHARDS + 1)),
    output:
        touch("workflow/{stage}.done"),
    log:
        "workflow/logs/{stage}-joined.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        offsite=lambda wildcards: OFFSITE,
        config=lambda wildcards: CONFIG,
        of=SHARDS,
    shell:
        "{params.offsite} workflow {wildcards.stage} {params.config} --join {params.of}"
        " > {log} 2>&1 || test $? -eq 3"
        " || (tail -n 20 {log} >&2; false)"
