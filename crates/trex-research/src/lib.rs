//! The Researcher: the built-in Playbook and the Net gate.
