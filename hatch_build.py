"""Compiles the engine's kernels when the package is built or installed from source."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = "service/t5engine/kernels"
LIBRARY = f"{KERNELS}/kernels.so"


class CompileKernels(BuildHookInterface[Any]):
    """Without a C compiler the package is built without: ggml's kernels do the same, slower."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and has the library and the platform's name go into the wheel."""
        del version
        sources = sorted(map(str, Path(self.root, KERNELS).glob("*.c")))
        library = Path(self.root, LIBRARY)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        if shutil.which(compiler[0]) is None:
            self.app.display_warning(f"no C compiler ({compiler[0]}): built without {library.name}")
            library.unlink(missing_ok=True)
            return
        flags = ["-std=c11", "-O3", "-shared", "-fPIC"]
        command = [*compiler, *flags, *sources, "-lm", "-o", str(library)]
        subprocess.run(command, check=True)
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
