//! GitHub's REST API, as far as an import asks for it (docs.github.com, "REST API"): one
//! repository, two items a page, and whatever refusals a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

const PAGE: usize = 2;

pub struct GitHubApi {
    port: u16,
    state: Arc<Mutex<State>>,
    server: ServerHandle,
}

#[derive(Default)]
struct State {
    port: u16,
    /// Lists by their paths below the repository; `commits` newest first.
    lists: BTreeMap<String, Vec<Value>>,
    /// Refusals still to come: for which request, the status, the headers, the message.
    refusals: Vec<Refusal>,
    asked: Vec<String>,
    tokens: BTreeSet<String>,
}

pub type Refusal = (&'static str, u16, Vec<(&'static str, String)>, &'static str);

impl GitHubApi {
    pub fn start(lists: BTreeMap<String, Vec<Value>>) -> Self {
        let state = Arc::new(Mutex::new(State { lists, ..State::default() }));
        let data = web::Data::from(Arc::clone(&state));
        let factory = move || App::new().app_data(data.clone()).default_service(web::to(answer));
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let port = server.addrs()[0].port();
        state.lock().unwrap().port = port;
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, state, server: handle }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v3", self.port)
    }

    /// The next request that ends like this is refused, once.
    pub fn refuse(&self, refusal: Refusal) {
        self.state.lock().unwrap().refusals.push(refusal);
    }

    pub fn refusals_left(&self) -> usize {
        self.state.lock().unwrap().refusals.len()
    }

    /// What was asked since the last time, as `list?page`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub fn tokens(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().tokens.clone()
    }
}

impl Drop for GitHubApi {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn answer(request: HttpRequest, state: web::Data<Mutex<State>>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    state.tokens.extend(token);
    let Some(path) = request.path().strip_prefix("/api/v3/repos/acme/checkout") else {
        return HttpResponse::NotFound().json(json!({"message": "Not Found"}));
    };
    let path = path.trim_start_matches('/').to_owned();
    let page: usize = query.get("page").map_or(1, |page| page.parse().unwrap());
    let asked = format!("{path}?{page}");
    state.asked.push(asked.clone());
    if let Some(at) = state.refusals.iter().position(|refusal| refusal.0 == asked) {
        let (_, status, headers, message) = state.refusals.remove(at);
        let mut refused = HttpResponse::build(status.try_into().unwrap());
        for (name, value) in headers {
            refused.insert_header((name, value));
        }
        return refused.json(json!({"message": message}));
    }
    if path.is_empty() {
        return HttpResponse::Ok().json(json!({"full_name": "acme/checkout", "default_branch": "main"}));
    }
    let Some(list) = state.lists.get(&path) else {
        return HttpResponse::NotFound().json(json!({"message": "Not Found"}));
    };
    // A thing, not a list.
    if path.starts_with("actions/runs/") {
        return HttpResponse::Ok().json(&list[0]);
    }
    let items = match query.get("sha").filter(|sha| *sha != "main") {
        Some(sha) => return HttpResponse::Ok().json(reachable(list, sha)),
        None if query.get("sort").is_some_and(|sort| sort == "updated") => newest_first(list),
        None => list.clone(),
    };
    let since = query.get("since").cloned().unwrap_or_default();
    let items: Vec<Value> = items
        .into_iter()
        .filter(|item| item["commit"]["committer"]["date"].as_str().is_none_or(|at| at >= &*since))
        .collect();
    let pages = items.len().div_ceil(PAGE);
    let mut answer = HttpResponse::Ok();
    if page < pages {
        let link = |page: usize, relation: &str| {
            let mut query = query.clone();
            query.insert("page".to_owned(), page.to_string());
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&query).finish();
            format!("<http://127.0.0.1:{}{}?{query}>; rel=\"{relation}\"", state.port, request.path())
        };
        answer.insert_header(("link", format!("{}, {}", link(page + 1, "next"), link(pages, "last"))));
    }
    answer.json(items.chunks(PAGE).nth(page - 1).unwrap_or_default())
}

/// The commits that one stands on, itself first.
fn reachable(commits: &[Value], sha: &str) -> Vec<Value> {
    let mut wanted = BTreeSet::from([sha.to_owned()]);
    let mut found = Vec::new();
    for commit in commits {
        if wanted.contains(commit["sha"].as_str().unwrap()) {
            wanted.extend(commit["parents"].as_array().unwrap().iter().map(|p| p["sha"].as_str().unwrap().to_owned()));
            found.push(commit.clone());
        }
    }
    found
}

fn newest_first(list: &[Value]) -> Vec<Value> {
    let mut items = list.to_vec();
    items.sort_by_key(|item| std::cmp::Reverse(item["updated_at"].to_string()));
    items
}
