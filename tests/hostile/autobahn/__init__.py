"""The Autobahn testsuite's own cases, driven by kosoku, against our transport with an echo behind it.

The suite itself needs Python 2. kosoku (on PyPI) runs its case files, unchanged in what they ask for, on a
runner of its own. ``python -m tests.hostile.autobahn`` needs it installed; ``make autobahn`` sees to that.
"""
