//! The one exception: on this machine, while no key exists, no key is needed.
//!
//! A browser on this machine reaches loopback too, on behalf of any page. So the `Host` must be a
//! loopback name (a page that rebinds its own name to 127.0.0.1 sends that name), and an `Origin`,
//! if there is one, must be this very host. What a proxy forwards is not from this machine: most
//! say so in a header, and one that does not speaks HTTP/1.0 unless told otherwise (nginx). A proxy
//! that hides itself completely cannot be told from a caller, so a key must exist before there is one.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::Version;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use url::{Host, Url};

/// What proxies add, `X-Forwarded-…` besides.
const FORWARDED: [HeaderName; 3] = [header::FORWARDED, header::VIA, HeaderName::from_static("x-real-ip")];

/// Whether a request comes straight from this machine. That no key exists and that the server
/// listens on loopback only is for the caller to know.
pub fn is_local(request: &HttpRequest) -> bool {
    let peer = request.peer_addr().is_some_and(|peer| is_loopback_address(peer.ip()));
    peer && request.version() >= Version::HTTP_11 && is_local_by_headers(request.headers())
}

fn is_local_by_headers(headers: &HeaderMap) -> bool {
    let is_forwarded = |name: &HeaderName| FORWARDED.contains(name) || name.as_str().starts_with("x-forwarded-");
    if headers.keys().any(is_forwarded) {
        return false;
    }
    let Some(host) = only(headers, &header::HOST).and_then(|host| Url::parse(&format!("http://{host}/")).ok()) else {
        return false;
    };
    let of_this_host = |origin: Url| origin.host().is_some() && origin.host() == host.host();
    let same_site = !headers.contains_key(header::ORIGIN)
        || only(headers, &header::ORIGIN).and_then(|origin| Url::parse(origin).ok()).is_some_and(of_this_host);
    host.host().is_some_and(|host| is_loopback_host(&host)) && same_site
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn is_loopback_host(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => is_loopback_address(IpAddr::V6(*address)),
    }
}

/// Loopback, IPv4 mapped into IPv6 included.
pub fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn local(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        is_local_by_headers(&headers)
    }

    #[test]
    fn loopback_names_are_local() {
        for host in ["localhost", "localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080"] {
            assert!(local(&[("host", host)]), "{host}");
        }
        assert!(local(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
    }

    #[test]
    fn what_a_foreign_page_or_a_proxy_sends_is_not() {
        for host in ["evil.example", "localhost.evil.example", "192.168.0.1:8080", "0.0.0.0:8080", "", "a b", "::1"] {
            assert!(!local(&[("host", host)]), "{host}");
        }
        for origin in ["http://evil.example", "null", "", "http://localhost.evil.example:8080", "file://"] {
            assert!(!local(&[("host", "localhost:8080"), ("origin", origin)]), "{origin}");
        }
        assert!(!local(&[]));
        assert!(!local(&[("host", "localhost"), ("host", "evil.example")]));
        assert!(!local(&[("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")]));
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via"] {
            assert!(!local(&[("host", "localhost"), (name, "x")]), "{name}");
        }
    }
}
