"""The workflow for people in this folder; it lies in workflow/, where Snakemake's tools look."""


include: "workflow/Snakefile"


rule everything:
    default_target: True
    input:
        rules.all.input,
    localrule: True
