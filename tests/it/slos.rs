//! slos
