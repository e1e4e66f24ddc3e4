"""The package, which need not be installed."""

import sys
from pathlib import Path

# The package lies beside a local workflow. Of one on the web, Snakemake fetches each file into a
# cache, where the folders stay the same.
here = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
scripts = here.parents[1] / "scripts"
if not scripts.is_dir():
    package_files = Path(workflow.source_path("../package_files.txt"))
    for path in package_files.read_text().splitlines():
        workflow.source_path(f"../../{path}")
    scripts = package_files.parents[1] / "scripts"
if str(scripts) not in sys.path:
    sys.path.insert(0, str(scripts))
