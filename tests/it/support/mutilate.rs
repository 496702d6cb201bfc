//! Bodies in which one value is something else: whatever it is, the fault must name a place.

use devpulse::ingest::fault::Fault;
use devpulse::ingest::source::Reading;
use serde_json::{Value, json};

/// Replaces everything in `body`, so many levels deep, one by one, by something that does not belong
/// there; answers how many places that were.
pub fn everywhere(body: &Value, depth: usize, parse: impl Fn(&Value) -> Result<Reading, Fault>) -> usize {
    every_fault(body, depth, |body| match parse(body) {
        Ok(Reading::Mixed(_, refused)) => refused.into_iter().map(|refused| refused.fault).collect(),
        Ok(_) => Vec::new(),
        Err(fault) => vec![fault],
    })
}

/// The same for sources of which one body may have several faults.
pub fn every_fault(body: &Value, depth: usize, faults: impl Fn(&Value) -> Vec<Fault>) -> usize {
    let mut body = body.clone();
    let mut places = Vec::new();
    collect(&body, String::new(), depth, &mut places);
    for place in &places {
        for value in [Value::Null, json!(-1), json!(""), json!("x\u{0}"), json!([]), json!({})] {
            let kept = std::mem::replace(body.pointer_mut(place).unwrap(), value);
            for fault in faults(&body) {
                assert!(fault.pointer().starts_with('/'), "{place}: {fault}");
            }
            *body.pointer_mut(place).unwrap() = kept;
        }
    }
    places.len()
}

/// Pointers of everything in `value`.
fn collect(value: &Value, at: String, depth: usize, places: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    if at.matches('/').count() < depth {
        for (key, child) in children {
            collect(child, format!("{at}/{key}"), depth, places);
        }
    }
    if !at.is_empty() {
        places.push(at);
    }
}
