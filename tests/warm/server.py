"""A process that has imported what others wrote and is slow to import, and forks into the programs it is asked for.

Ours is imported anew by every program, so that one that forgets an import fails here too.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

SLOW = {
    "diffusers": (
        "AutoencoderDC AutoencoderKL ConfigMixin DDPMScheduler DiffusionPipeline DPMSolverMultistepScheduler "
        "LCMScheduler ModelMixin PixArtTransformer2DModel UNet2DConditionModel VQModel"
    ),
    "transformers": "AutoModel AutoTokenizer BertModel CLIPTextModel PreTrainedTokenizerFast",
    **dict.fromkeys(("torch", "torch._dynamo", "accelerate", "peft", "torchmetrics.functional.image"), ""),
    **dict.fromkeys(("numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "scipy.ndimage", "scipy.stats"), ""),
    **dict.fromkeys(("scipy.sparse.linalg", "PIL.Image", "typer", "pydantic", "yaml", "tqdm", "jinja2"), ""),
}


def import_slow() -> None:
    """Import all of SLOW, with the names that diffusers and transformers look up late."""
    for module, names in SLOW.items():
        found = importlib.import_module(module)
        for name in names.split():
            getattr(found, name)
    gc.collect()
    gc.freeze()  # a child's collector leaves the pages that it shares alone


def serve(listener: socket.socket) -> list[str]:
    """Fork for every request until standard input ends; comes back in the child only, with its command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if "torch" not in sys.modules:
            import_slow()
        if os.fork() == 0:
            listener.close()
            return keep(connection)
        connection.close()
        reap(os.WNOHANG)
    reap(0)
    os._exit(0)


def reap(options: int) -> None:
    """Wait for the children that have ended, or for all."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def keep(connection: socket.socket) -> list[str]:
    """Fork the program, tell its number and then its exit code; a program whose asker is gone is killed."""
    message, streams, *_ = socket.recv_fds(connection, 2**20, 3)
    request = json.loads(message)
    program = os.fork()
    if program == 0:
        connection.close()
        return prepare(streams=streams, **request)
    for stream in streams:
        os.close(stream)
    connection.sendall(str(program).encode())
    ended = os.pidfd_open(program)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(program, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    try:
        connection.sendall(str(code).encode())
    finally:
        os._exit(0)


def prepare(streams: list[int], command: list[str], folder: str, environment: dict[str, str]) -> list[str]:
    """Make this process what a new interpreter would be: streams, folder, environment, signals, random numbers."""
    import numpy as np
    import torch

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    np.random.seed()
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    return command


def become(command: list[str]) -> None:
    """Run `python -c`, `python -m`, `python FILE` or a console script as the main module."""
    sys.executable, *words = command
    if Path(sys.executable).name != "python":  # a console script beside the python of this environment
        words = [str(Path(sys.prefix) / "bin" / Path(sys.executable).name), *words]
        sys.executable = str(Path(sys.executable).with_name("python"))
    if words[0] == "-u":
        sys.stdout.reconfigure(write_through=True)
        words = words[1:]
    told = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    first = {"-c": "", "-m": os.getcwd()}.get(words[0], str(Path(words[0]).resolve().parent))
    sys.path[:0] = [first, *told]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        main = sys.modules["__main__"] = type(sys)("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def run(command: list[str]) -> int:
    """Run the program to what an interpreter does at its end; its exit code. What it raises is printed."""
    try:
        become(command)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    del sys.path[0]  # this folder
    code = run(serve(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(code)  # taking 5000 modules down would take seconds
