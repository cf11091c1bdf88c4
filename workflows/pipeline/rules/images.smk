# Images to what a model reads, in shards: a shard is one process that isolates its failures.


def before(wildcards):
    """The same shard of the stage before, or the images themselves."""
    position = STAGES.index(wildcards.stage)
    if position:
        return f"workflow/{STAGES[position - 1]}-{wildcards.part}.done"
    return images_of_part(JOB, int(wildcards.part), SHARDS)


rule images:
    input:
        before,
    output:
        touch("workflow/{stage}-{part}.done"),
    log:
        "workflow/logs/{stage}-{part}.log",
    params:
        of=SHARDS,
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=120,
    retries: 2
    shell:
        "{OFFSITE} {wildcards.stage} {CONFIG} --workers {threads}"
        " --part {wildcards.part}/{params.of} > {log} 2>&1 {SOME_MAY_FAIL}"


rule joined:
    input:
        expand("workflow/{{stage}}-{part}.done", part=range(1, SHARDS + 1)),
    output:
        touch("workflow/{stage}.done"),
    log:
        "workflow/logs/{stage}-joined.log",
    params:
        of=SHARDS,
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "{OFFSITE} {wildcards.stage} {CONFIG} --join {params.of} > {log} 2>&1"
