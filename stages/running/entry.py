"""What every command does with an error: one line on standard error, and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from stages.running.code import ROOT
from stages.running.resources import free_memory

#: A variable of the environment; 1 shows tracebacks.
DEBUG = "INFLECT_DEBUG"
#: Base classes of other libraries' errors that are the user's to mend. They are known by name, as
#: a command that never meets one would import its library for nothing.
_USERS = {"OmegaConfBaseException", "HydraException", "DvcException", "YAMLError"}
# Control characters, line and paragraph separators, and bytes of a name that is not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BYTES = range(0xDC80, 0xDD00)  # stand for the bytes 0x80 to 0xff, see PEP 383
_OURS = tuple(f"{ROOT}/{folder}/" for folder in ("stages", "app", "studies", "benchmarks"))


def run_command(main: Callable[[], object]) -> None:
    """Call the main function of a command, and end the program with one line if it fails.

    `INFLECT_DEBUG=1` in the environment shows the traceback instead.

    Parameters
    ----------
    main : callable
        takes no argument

    Raises
    ------
    SystemExit
        with the message, which Python prints on standard error, and exit code 1; with exit code
        130 if the command was interrupted; what main itself raises
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's choice for `command &`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    debug = os.environ.get(DEBUG) == "1"
    try:
        try:
            main()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted; run the same command again", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if debug:
            raise
        # Python writes what is left when it exits, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit("standard output: closed by the program that reads it")
    except Exception as error:
        if debug:
            raise
        # A file's name may hold what would command a terminal.
        sys.exit("\n".join(map(printable, describe_error(error).split("\n"))))


def only_argument(name: str, *, known: Iterable[str]) -> str:
    """Return the only argument of a command: one of the known names, else the program ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument(name, choices=list(known))
    return vars(parser.parse_args())[name]


def describe_error(error: Exception) -> str:
    """Say in one line what went wrong; a message of this project may have more lines."""
    message = "; ".join([str(error), *getattr(error, "__notes__", ())])
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_system(error)
    if isinstance(error, MemoryError) or re.search("allocate memory|out of memory", message, re.I):
        return f"out of memory, {free_memory() / 1e9:.1f} GB are free: {first_line(message)}"
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, (ValueError, OSError, ImportError)) or names & _USERS:
        if message and (_is_ours(error) or names & _USERS):
            return message
        return f"{first_line(message)} ({type(error).__name__}; {DEBUG}=1 shows the traceback)"
    return (
        f"internal error, a fault of Inflect: {type(error).__name__}: {first_line(message)} "
        f"({DEBUG}=1 shows the traceback)"
    )


def printable(name: str) -> str:
    r"""Write a name on one line of valid text: control characters and stray bytes as \n or \xf6."""
    return _UNPRINTABLE.sub(_escaped, name)


def first_line(message: str) -> str:
    """Return the first line of a message that says something."""
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message")


def _escaped(match: re.Match) -> str:
    code = ord(match[0])
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode()


def _of_the_system(error: OSError) -> str:
    """Say which file the operating system refused, and why."""
    reason = (error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")).lower()
    names = [name for name in (error.filename, error.filename2) if name is not None]
    path = " to ".join(
        os.fsdecode(name) if not isinstance(name, int) else str(name) for name in names
    )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = Path(path or ".").absolute()
        while not folder.is_dir():
            folder = folder.parent
        reason += f", {shutil.disk_usage(folder).free / 1e9:.1f} GB are free"
        path = path or f"a file below {folder}"
    return f"{path}: {reason}" if path else reason


def _is_ours(error: Exception) -> bool:
    """Tell whether this project raised an error, here or in another process."""
    if type(error.__cause__).__name__ == "_RemoteTraceback":  # of a worker of joblib
        file = re.findall(r'File "(.+?)", line', str(error.__cause__))[-1]
    else:
        last = error.__traceback__
        while last and last.tb_next:
            last = last.tb_next
        file = last.tb_frame.f_code.co_filename if last else ""
    return file.startswith(_OURS)
