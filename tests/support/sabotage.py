"""Code for ``sitecustomize.py`` of child processes and Ray workers: what goes wrong there, and when."""

SLOW_DECODER = """
import soundfile, time
_open = soundfile.SoundFile.__init__
def slow(self, *args, **kwargs):
    time.sleep(0.5)  # a node takes seconds to start, and is to be killed in the middle
    return _open(self, *args, **kwargs)
soundfile.SoundFile.__init__ = slow
"""

DEADLY_DECODER = """
import os, signal, soundfile
_open = soundfile.SoundFile.__init__
def deadly(self, file, *args, **kwargs):
    name = str(getattr(file, "name", file))
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "endless" in name:
        import time; time.sleep(60)
    return _open(self, file, *args, **kwargs)
soundfile.SoundFile.__init__ = deadly
"""

KILL_AT_STEPS = """
import os, pathlib, signal
KILLS = pathlib.Path(os.environ["KILLS"])
def patch(name, what):
    original = getattr(pathlib.Path, name)
    def step(self, *args, **kwargs):
        target = str(args[0]) if name == "replace" else str(self)
        if name == "open" and args[:1] != ("rb",):
            return original(self, *args, **kwargs)
        def die(moment):
            for plan in KILLS.glob(f"{moment}-{what}-*"):
                kind, number = plan.name.split("-")[2:]
                kind = {"journal": "/.journal/"}.get(kind, f"/{kind}-" if what != "open" else f"/.{kind}-")
                if kind in target and number in target:
                    plan.rename(plan.with_name("done-" + plan.name))  # once
                    os.kill(os.getpid(), signal.SIGKILL)
        die("before")
        answer = original(self, *args, **kwargs)
        die("after")
        return answer
    setattr(pathlib.Path, name, step)
for name in ("replace", "unlink", "open"):
    patch(name, name)
"""
