//! What derivations need of a change, in few bytes: a service reads those of its whole repository.

use serde::{Deserialize, Serialize};

use crate::event::{Change, PullRequest};
use crate::store::StoreError;
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
struct Packed {
    service: Option<String>,
    authored_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
    merged_at: Option<Timestamp>,
    request: Option<Request>,
    merge: bool,
    paths: Vec<String>,
    partial: bool,
}

#[derive(Serialize, Deserialize)]
struct Request {
    number: u64,
    opened_at: Option<Timestamp>,
    first_commit_at: Option<Timestamp>,
    first_review_at: Option<Timestamp>,
    approved_at: Option<Timestamp>,
    merged_at: Option<Timestamp>,
}

/// # Errors
/// The change does not become bytes.
pub fn pack(change: &Change) -> Result<Vec<u8>, StoreError> {
    let request = change.pull_request.as_ref().map(|request| Request {
        number: request.number,
        opened_at: request.opened_at,
        first_commit_at: request.first_commit_at,
        first_review_at: request.first_review_at,
        approved_at: request.approved_at,
        merged_at: request.merged_at,
    });
    let packed = Packed {
        service: change.service.clone(),
        authored_at: change.authored_at,
        committed_at: change.committed_at,
        merged_at: change.merged_at,
        request,
        merge: change.merge,
        paths: change.paths.clone(),
        partial: change.partial,
    };
    postcard::to_allocvec(&packed).map_err(|error| StoreError::encode("change", error))
}

/// # Errors
/// The bytes are not those of a change.
pub fn unpack(repository: String, sha: String, bytes: &[u8]) -> Result<Change, StoreError> {
    let packed: Packed = postcard::from_bytes(bytes).map_err(|error| StoreError::decode("change", error))?;
    let request = packed.request.map(|request| PullRequest {
        number: request.number,
        opened_at: request.opened_at,
        first_commit_at: request.first_commit_at,
        first_review_at: request.first_review_at,
        approved_at: request.approved_at,
        merged_at: request.merged_at,
    });
    Ok(Change {
        repository,
        sha,
        service: packed.service,
        authored_at: packed.authored_at,
        committed_at: packed.committed_at,
        merged_at: packed.merged_at,
        pull_request: request,
        merge: packed.merge,
        paths: packed.paths,
        // What the push said stands in the other fields.
        push: None,
        partial: packed.partial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_comes_back() {
        let at = |micros| Some(Timestamp::from_micros(micros));
        let bare = Change {
            repository: "acme/shop".to_owned(),
            sha: "8f3c".to_owned(),
            service: None,
            authored_at: None,
            committed_at: None,
            merged_at: None,
            pull_request: None,
            merge: false,
            paths: Vec::new(),
            push: None,
            partial: false,
        };
        let full = Change {
            service: Some("cart".to_owned()),
            authored_at: at(-1),
            committed_at: at(2),
            merged_at: at(i64::MAX),
            pull_request: Some(PullRequest {
                number: 7,
                opened_at: at(3),
                first_commit_at: at(4),
                first_review_at: at(5),
                approved_at: at(6),
                merged_at: at(7),
            }),
            merge: true,
            paths: vec!["a".to_owned(), "ü/b".to_owned()],
            partial: true,
            ..bare.clone()
        };
        for change in [bare, full] {
            let bytes = pack(&change).unwrap();
            assert_eq!(unpack(change.repository.clone(), change.sha.clone(), &bytes).unwrap(), change);
        }
    }
}
