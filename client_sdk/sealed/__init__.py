"""Conversations whose bodies the server cannot read. Experimental; see docs/end-to-end.md.

The story. Each device of each robot has an X25519 key, which it announces in the conversation's own log,
signed with the robot's Ed25519 identity key. A device that sends makes a random *sender key*, wraps it to
every device that it trusts of every member, and puts the wrapped copies into the log as one event. From the
sender key a chain of hashes gives one key for each message. When the members or their devices change, after
some messages, and after some time, the device makes a new sender key, so that who left cannot read on and
who came cannot read back. The server sees ordinary events with opaque bodies; it orders, stores and counts
them.

`envelope` is the form of what travels, `ratchet` the chain, `roster` who may read, `outgoing` and
`incoming` the two directions, `session` all of it for one device, without clock, randomness or waiting of
its own. `sealer` performs what takes requests. What must outlive the process goes into the robot's memory,
in one write with the places that it belongs to.
"""
