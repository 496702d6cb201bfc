//! What the tests stand on.

pub mod alerting;
pub mod app;
pub mod cutting_proxy;
pub mod database;
pub mod db;
pub mod devpulse;
pub mod github;
pub mod github_api;
pub mod go_template;
pub mod haproxy;
pub mod html;
pub mod http;
pub mod mutilate;
pub mod peer;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod schema;
pub mod slack;
pub mod smtp;
pub mod traffic;
pub mod versions;
pub mod wait;
pub mod webhook;
