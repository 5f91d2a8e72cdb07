"""A fuzzer over everything that reads bytes from outside.

``python -m tests.fuzz`` feeds each target with inputs that are made from the declarations of the frames,
and with mutations of earlier ones. A target reads an input as the product does, and raises if anything
comes of it but what may: a frame, or a documented refusal. What fails is shrunk, and printed so that it
can be put among the regressions.

Targets: `frames` and `bodies` (both codecs, and what turns one into the other), `streams` (the WebSocket
path, compared with the plain library), `server_frames` and `robots` (what the SDK reads, and what it
does then), `sessions` (frames in any state of a session).

Guidance by coverage was tried (atheris 3.0, 90 seconds each): it reached 801 branches of the WebSocket path,
and 734 of the SDK's machine, where 20,000 inputs made from the declarations reach 813 and 1,289 in a third of
the time. It cannot see into msgspec, which is C, and so does not get past the first frame.
"""
