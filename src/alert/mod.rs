//! The life of an alert: inactive, pending, firing, resolved. Pure.
