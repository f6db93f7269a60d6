"""The peak of a process's resident memory: VmHWM of Linux, which 5 in clear_refs sets back to the present."""


def kib(field: str) -> int:
    """A line of /proc/self/status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def now() -> tuple[int, int]:
    """From where to count: resident memory, and the part of it that is code. The peak begins here."""
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    return kib("VmRSS"), kib("RssFile")


def peak_above(before: tuple[int, int]) -> int:
    """KiB of the peak beyond what there was, but for code that has come in since."""
    resident, code = before
    return kib("VmHWM") - resident - max(kib("RssFile") - code, 0)
