//! `git.push` and `git.pullrequest.*`: what was merged to the default branch.

use super::{Context, Named, SOURCE, name};
use crate::event::{DeliveryEvent, PullRequest};
use crate::ingest::commits::{self, Commit, is_merge};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::{fact, fact_known_by};
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, object, read};
use crate::time::Timestamp;

type List<T> = Vec<Field<T>>;

object! {
    pub struct Push<'a> {
        commits: "commits" List<Raw<'a>>,
        updates: "refUpdates" List<Update<'a>>,
        repository: "repository" Repository<'a>,
        date: "date" Text<'a>,
    }

    pub struct Update<'a> {
        name: "name" Text<'a>,
    }

    pub struct Repository<'a> {
        name: "name" Text<'a>,
        project: "project" Named<'a>,
        default_branch: "defaultBranch" Text<'a>,
    }

    pub struct Listed<'a> {
        id: "commitId" Text<'a>,
        author: "author" Person<'a>,
        committer: "committer" Person<'a>,
        comment: "comment" Text<'a>,
    }

    pub struct Person<'a> {
        date: "date" Text<'a>,
    }

    pub struct Request<'a> {
        id: "pullRequestId" u64,
        status: "status" Text<'a>,
        target: "targetRefName" Text<'a>,
        creation_date: "creationDate" Text<'a>,
        closed_date: "closedDate" Text<'a>,
        merge_commit: "lastMergeCommit" Hash<'a>,
        repository: "repository" Repository<'a>,
    }

    pub struct Hash<'a> {
        id: "commitId" Text<'a>,
    }
}

/// PROJECT/NAME, and the default branch as `refs/heads/…`.
fn repo<'a>(field: Field<Repository<'_>>, context: &Context<'a>) -> Result<(Repo<'a>, String), Fault> {
    let fix = "Azure DevOps describes the repository there";
    let repository = field.required("/resource/repository", fix)?;
    let project = name(repository.project, "/resource/repository/project")?;
    let own = repository.name.needed("/resource/repository/name", NAME, fix)?;
    let at = "/resource/repository/defaultBranch";
    let default = repository.default_branch.needed(at, NAME, "without it nobody can tell which commits are merged")?;
    Ok((Repo::new(SOURCE, &format!("{project}/{own}"), context.services), default.into_owned()))
}

pub fn push(push: Push<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let (repo, default) = repo(push.repository, context)?;
    let updates = push.updates.required("/resource/refUpdates", "which branch was pushed?")?;
    let [Field::Given(update)] = updates.as_slice() else {
        let words = "one push to several branches does not say which commit went to which";
        return Ok(Reading::skipped(Skip::NotMerged, words));
    };
    let branch = update.name.clone().needed("/resource/refUpdates/0/name", NAME, "which branch was pushed?")?;
    if branch != default {
        let words = format!("{branch} is not the default branch {default}: its commits are not merged");
        return Ok(Reading::skipped(Skip::NotMerged, words));
    }
    let pushed_at = push.date.moment("/resource/date")?.unwrap_or(context.received_at);
    let commits = match push.commits {
        Field::Absent => Vec::new(),
        commits => commits.required("/resource/commits", "a push lists its commits")?,
    };
    if commits.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    let facts = commits.into_iter().enumerate().map(|(i, raw)| commit(i, raw, pushed_at, &repo));
    Ok(Reading::Facts(facts.collect::<Result<_, _>>()?))
}

fn commit(i: usize, raw: Field<Raw<'_>>, pushed_at: Timestamp, repo: &Repo<'_>) -> Result<Fact, Fault> {
    let at = format!("/resource/commits/{i}");
    let Raw(raw) = raw.required(&at, "it is null")?;
    let listed: Listed<'_> = read(raw).map_err(|fault| Fault::new(&at, fault.detail()))?;
    let moment = |person: Field<Person<'_>>, who: &str| match person {
        Field::Given(person) => person.date.moment(format_args!("{at}/{who}/date")),
        _ => Ok(None),
    };
    let authored_at = moment(listed.author, "author")?;
    let commit = Commit {
        sha: listed.id.needed(format_args!("{at}/commitId"), SHA, "which commit is it?")?.into_owned(),
        authored_at,
        committed_at: moment(listed.committer, "committer")?.or(authored_at),
        merge: matches!(&listed.comment, Field::Given(comment) if is_merge(comment)),
        pushed_before: false,
        paths: Vec::new(),
    };
    let parts = [SOURCE, "push", repo.name.as_str(), &commit.sha.clone()];
    let change = commit.change(repo, Some(pushed_at));
    Ok(fact_known_by(&parts, DeliveryEvent::Change(change), raw))
}

/// A completed pull request tells the times of the review of the commit it became. `merged` comes for
/// every attempt to merge, too: only the status says that it is on the branch.
pub fn pull_request(request: Request<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let status = request.status.needed("/resource/status", NAME, "was it completed?")?;
    if status != "completed" {
        return skipped(format!("{status}: a pull request becomes a change when it is completed"));
    }
    let (repo, default) = repo(request.repository, context)?;
    let target = request.target.needed("/resource/targetRefName", NAME, "which branch was it merged to?")?;
    if target != default {
        return skipped(format!("merged to {target}, which is not the default branch {default}"));
    }
    let at = "/resource/closedDate";
    let merged_at = request.closed_date.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let fix = "which commit did it become?";
    let commit = request.merge_commit.required("/resource/lastMergeCommit", fix)?;
    let sha = commit.id.needed("/resource/lastMergeCommit/commitId", SHA, fix)?.into_owned();
    let pull = PullRequest {
        number: request.id.required("/resource/pullRequestId", "which pull request is it?")?,
        opened_at: request.creation_date.moment("/resource/creationDate")?,
        merged_at: Some(merged_at),
        ..PullRequest::default()
    };
    let change = commits::of_request(&repo, sha, pull, merged_at);
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?]))
}
