//! Ports for programs that cannot pick one themselves.

use std::net::{Ipv4Addr, TcpListener};

/// A free port of loopback below the range the kernel hands out to connections, so that a
/// program that is killed and started again finds its port free.
pub fn free() -> u16 {
    loop {
        let [low, high, ..] = uuid::Uuid::new_v4().into_bytes();
        let port = 10_000 + u16::from_le_bytes([low, high]) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
