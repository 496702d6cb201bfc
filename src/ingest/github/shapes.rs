//! The parts of GitHub's payloads that DevPulse reads; everything else is skipped.

use super::Context;
use crate::ingest::commits::Signature;
use crate::ingest::fault::{Fault, NAME};
use crate::ingest::place::Repo;
use crate::ingest::wire::{Field, Raw, Text, object};

pub fn repo<'a>(full_name: Field<Text<'_>>, context: &Context<'a>) -> Result<Repo<'a>, Fault> {
    Repo::of("github", full_name, "/repository/full_name", context.services)
}

/// The repository's default branch; only its commits are merged changes.
pub fn default_branch(repository: Field<Text<'_>>) -> Result<String, Fault> {
    let fix = "without it nobody can tell which commits are merged";
    Ok(repository.needed("/repository/default_branch", NAME, fix)?.into_owned())
}

pub fn repository(field: Field<Repository<'_>>) -> Result<Repository<'_>, Fault> {
    field.required("/repository", "GitHub names the repository of every such event")
}

type List<T> = Vec<Field<T>>;

object! {
    pub struct Repository<'a> {
        full_name: "full_name" Text<'a>,
        default_branch: "default_branch" Text<'a>,
        pushed_at: "pushed_at" u64,
    }

    /// `deployment` and `deployment_status`.
    pub struct DeploymentPayload<'a> {
        repository: "repository" Repository<'a>,
        deployment: "deployment" Deployment<'a>,
        status: "deployment_status" DeploymentStatus<'a>,
        workflow: "workflow" Workflow<'a>,
        run: "workflow_run" WorkflowRun<'a>,
    }

    pub struct Deployment<'a> {
        id: "id" u64,
        sha: "sha" Text<'a>,
        git_ref: "ref" Text<'a>,
        task: "task" Text<'a>,
        payload: "payload" Raw<'a>,
        environment: "environment" Text<'a>,
        transient: "transient_environment" bool,
        production: "production_environment" bool,
        created_at: "created_at" Text<'a>,
        url: "url" Text<'a>,
    }

    /// What the creator of a deployment may say in its `payload`.
    pub struct Declared<'a> {
        service: "service" Text<'a>,
        version: "version" Text<'a>,
        kind: "kind" Text<'a>,
    }

    pub struct DeploymentStatus<'a> {
        state: "state" Text<'a>,
        environment: "environment" Text<'a>,
        created_at: "created_at" Text<'a>,
        log_url: "log_url" Text<'a>,
        target_url: "target_url" Text<'a>,
    }

    pub struct WorkflowPayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        workflow: "workflow" Workflow<'a>,
        run: "workflow_run" WorkflowRun<'a>,
    }

    pub struct Workflow<'a> {
        name: "name" Text<'a>,
        path: "path" Text<'a>,
    }

    pub struct WorkflowRun<'a> {
        id: "id" u64,
        name: "name" Text<'a>,
        path: "path" Text<'a>,
        event: "event" Text<'a>,
        head_sha: "head_sha" Text<'a>,
        head_branch: "head_branch" Text<'a>,
        conclusion: "conclusion" Text<'a>,
        attempt: "run_attempt" u64,
        created_at: "created_at" Text<'a>,
        run_started_at: "run_started_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        html_url: "html_url" Text<'a>,
    }

    pub struct PushPayload<'a> {
        git_ref: "ref" Text<'a>,
        before: "before" Text<'a>,
        after: "after" Text<'a>,
        deleted: "deleted" bool,
        forced: "forced" bool,
        size: "size" u64,
        repository: "repository" Repository<'a>,
        commits: "commits" List<Raw<'a>>,
        head_commit: "head_commit" Raw<'a>,
    }

    /// `commits` is what an import adds (`GET /repos/…/pulls/…/commits`).
    pub struct PullRequestPayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        pull_request: "pull_request" PullRequest<'a>,
        commits: "commits" List<ListedCommit<'a>>,
    }

    pub struct PullRequest<'a> {
        number: "number" u64,
        state: "state" Text<'a>,
        merged: "merged" bool,
        merged_at: "merged_at" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        closed_at: "closed_at" Text<'a>,
        merge_commit_sha: "merge_commit_sha" Text<'a>,
        commits: "commits" u64,
        user: "user" User<'a>,
        base: "base" Branch<'a>,
        head: "head" Branch<'a>,
    }

    pub struct Branch<'a> {
        git_ref: "ref" Text<'a>,
        sha: "sha" Text<'a>,
        repo: "repo" Repository<'a>,
    }

    pub struct User<'a> {
        login: "login" Text<'a>,
        kind: "type" Text<'a>,
    }

    pub struct ListedCommit<'a> {
        sha: "sha" Text<'a>,
        commit: "commit" CommitDetail<'a>,
        parents: "parents" List<Raw<'a>>,
    }

    pub struct CommitDetail<'a> {
        author: "author" Signature<'a>,
    }

    pub struct ReviewPayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        pull_request: "pull_request" PullRequest<'a>,
        review: "review" Review<'a>,
    }

    pub struct Review<'a> {
        id: "id" u64,
        state: "state" Text<'a>,
        user: "user" User<'a>,
        submitted_at: "submitted_at" Text<'a>,
    }

    pub struct ReleasePayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        release: "release" Release<'a>,
    }

    pub struct Release<'a> {
        id: "id" u64,
        tag_name: "tag_name" Text<'a>,
        target: "target_commitish" Text<'a>,
        name: "name" Text<'a>,
        draft: "draft" bool,
        prerelease: "prerelease" bool,
        published_at: "published_at" Text<'a>,
        html_url: "html_url" Text<'a>,
    }

    /// `code_scanning_alert`, `dependabot_alert` and `secret_scanning_alert`.
    pub struct AlertPayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        alert: "alert" Alert<'a>,
    }

    pub struct Alert<'a> {
        number: "number" u64,
        state: "state" Text<'a>,
        resolution: "resolution" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        fixed_at: "fixed_at" Text<'a>,
        dismissed_at: "dismissed_at" Text<'a>,
        auto_dismissed_at: "auto_dismissed_at" Text<'a>,
        resolved_at: "resolved_at" Text<'a>,
        html_url: "html_url" Text<'a>,
        rule: "rule" Rule<'a>,
        tool: "tool" Tool<'a>,
        instance: "most_recent_instance" Instance<'a>,
        advisory: "security_advisory" Advisory<'a>,
        dependency: "dependency" Dependency<'a>,
        secret_type: "secret_type" Text<'a>,
        secret_name: "secret_type_display_name" Text<'a>,
    }

    pub struct Rule<'a> {
        id: "id" Text<'a>,
        severity: "severity" Text<'a>,
        security_severity: "security_severity_level" Text<'a>,
        description: "description" Text<'a>,
    }

    pub struct Tool<'a> {
        name: "name" Text<'a>,
    }

    pub struct Instance<'a> {
        location: "location" Location<'a>,
    }

    pub struct Location<'a> {
        path: "path" Text<'a>,
    }

    pub struct Advisory<'a> {
        id: "ghsa_id" Text<'a>,
        severity: "severity" Text<'a>,
        summary: "summary" Text<'a>,
    }

    pub struct Dependency<'a> {
        package: "package" Package<'a>,
        manifest: "manifest_path" Text<'a>,
    }

    pub struct Package<'a> {
        ecosystem: "ecosystem" Text<'a>,
        name: "name" Text<'a>,
    }

    pub struct IssuePayload<'a> {
        action: "action" Text<'a>,
        repository: "repository" Repository<'a>,
        issue: "issue" Issue<'a>,
        label: "label" Label<'a>,
    }

    pub struct Issue<'a> {
        number: "number" u64,
        title: "title" Text<'a>,
        state: "state" Text<'a>,
        html_url: "html_url" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        closed_at: "closed_at" Text<'a>,
        labels: "labels" List<Label<'a>>,
    }

    pub struct Label<'a> {
        name: "name" Text<'a>,
    }
}
