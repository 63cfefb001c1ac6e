"""Results of checks, and the files of recorded requests."""

import json


class Report:
    """Prints and counts results."""

    def __init__(self, verbose):
        self.verbose = verbose
        self.passed = 0
        self.failed = 0

    def add(self, name, problems):
        """Notes the result of one check."""
        if problems:
            self.failed += 1
            print(f"FAILED {name}")
            for problem in problems:
                print(f"    {problem}")
            return
        self.passed += 1
        if self.verbose:
            print(f"ok {name}")

    def close(self):
        """Prints the sum and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 0 if self.failed == 0 and self.passed > 0 else 1


def recorded(paths):
    """Yields the requests of some files with the places they come from."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", json.loads(line)
