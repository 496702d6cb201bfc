//! Deciding, doing and proving rollbacks. Evidence, policy, state and plan are pure; `executor/` is not.
