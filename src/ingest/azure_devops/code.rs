//! `git.push`: what was merged to the default branch, and what was written for it on other branches.

use super::{Context, Named, SOURCE, name};
use crate::event::{ChangeEvent, DeliveryEvent, PushRef};
use crate::ingest::commits::{Commit, is_merge};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact_known_by;
use crate::ingest::place::Repo;
use crate::ingest::requests::pushed;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, object, read};
use crate::time::Timestamp;

type List<T> = Vec<Field<T>>;

/// What stands before the name of a branch.
pub(super) const HEADS: &str = "refs/heads/";

object! {
    pub struct Push<'a> {
        commits: "commits" List<Raw<'a>>,
        updates: "refUpdates" List<Update<'a>>,
        repository: "repository" Repository<'a>,
        date: "date" Text<'a>,
    }

    pub struct Update<'a> {
        name: "name" Text<'a>,
        old: "oldObjectId" Text<'a>,
        new: "newObjectId" Text<'a>,
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
}

/// PROJECT/NAME of the repository that stands in `within`.
pub(super) fn repo<'a>(field: Field<Repository<'_>>, within: &str, context: &Context<'a>) -> Result<Repo<'a>, Fault> {
    let fix = "Azure DevOps describes the repository there";
    let at = format!("{within}/repository");
    let repository = field.required(&at, fix)?;
    let project = name(repository.project, &format!("{at}/project"))?;
    let own = repository.name.needed(format_args!("{at}/name"), NAME, fix)?;
    Ok(Repo::new(SOURCE, &format!("{project}/{own}"), context.services))
}

/// As `refs/heads/…`.
pub(super) fn default_branch(field: &Field<Repository<'_>>) -> Result<Option<String>, Fault> {
    let Field::Given(repository) = field else { return Ok(None) };
    let branch = repository.default_branch.clone().within("/resource/repository/defaultBranch", NAME)?;
    Ok(branch.map(Text::into_owned))
}

pub fn push(push: Push<'_>, event_body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let default = default_branch(&push.repository)?;
    let repo = repo(push.repository, "/resource", context)?;
    let at = "/resource/repository/defaultBranch";
    let fix = "is missing: without it nobody can tell which commits are merged";
    let default = default.ok_or_else(|| Fault::new(at, fix))?;
    let updates = push.updates.required("/resource/refUpdates", "which branch was pushed?")?;
    let [Field::Given(update)] = updates.as_slice() else {
        let words = "one push to several branches does not say which commit went to which";
        return Ok(Reading::skipped(Skip::NotMerged, words));
    };
    let branch = update.name.clone().needed("/resource/refUpdates/0/name", NAME, "which branch was pushed?")?;
    let merged = branch == default;
    let Some(own_name) = branch.strip_prefix(HEADS).map(str::to_owned) else {
        return Ok(Reading::skipped(Skip::NotMerged, format!("{branch} is not a branch")));
    };
    let pushed_at = push.date.moment("/resource/date")?.unwrap_or(context.received_at);
    let commits = match push.commits {
        Field::Absent => Vec::new(),
        commits => commits.required("/resource/commits", "a push lists its commits")?,
    };
    if commits.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    context.bounded(commits.len(), "/resource/commits")?;
    let head = update.new.clone().within("/resource/refUpdates/0/newObjectId", SHA)?;
    let before = update.old.clone().within("/resource/refUpdates/0/oldObjectId", SHA)?;
    let before = before.filter(|sha| sha.bytes().any(|byte| byte != b'0')).map(Text::into_owned);
    let push = head.map(|head| PushRef { branch: own_name, head: head.into_owned() });
    let mut read = Vec::new();
    for (i, raw) in commits.into_iter().enumerate() {
        read.push(commit(i, raw)?);
    }
    let landed = read.iter().filter(|_| merged);
    let changes = landed.map(|(raw, commit)| change(raw, commit, push.as_ref(), pushed_at, &repo));
    let mut facts: Vec<Fact> = changes.collect();
    if let Some(push) = push {
        let parts = [SOURCE, "pushed", repo.name.as_str(), &push.branch.clone(), &push.head.clone()];
        let commits: Vec<Commit> = read.into_iter().map(|(_, commit)| commit).collect();
        let event = pushed(&repo, push, before, pushed_at, &commits, false);
        facts.push(fact_known_by(&parts, DeliveryEvent::Push(event), event_body));
    }
    if facts.is_empty() {
        let words = format!("{branch} is not the default branch {default}, and its update does not say where it is");
        return Ok(Reading::skipped(Skip::NotMerged, words));
    }
    Ok(Reading::Facts(facts))
}

fn commit(i: usize, raw: Field<Raw<'_>>) -> Result<(&str, Commit), Fault> {
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
    Ok((raw, commit))
}

fn change(raw: &str, commit: &Commit, push: Option<&PushRef>, pushed_at: Timestamp, repo: &Repo<'_>) -> Fact {
    let parts = [SOURCE, "push", repo.name.as_str(), &commit.sha];
    let change = ChangeEvent { push: push.cloned(), ..commit.clone().change(repo, Some(pushed_at)) };
    fact_known_by(&parts, DeliveryEvent::Change(change), raw)
}
