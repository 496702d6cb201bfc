//! The API's description, OpenAPI 3.1: gathered from the handlers, completed here.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, web};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema, Type};

use super::Problem;
use crate::config::model::Tier;
use crate::dora::count::LeadFrom;
use crate::dora::select::Arrival;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "DevPulse",
        description = "Events in; DORA metrics, error budgets, alerts and rollbacks out.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    // Types of query parameters are not gathered from the handlers.
    components(schemas(Problem, LeadFrom, Arrival, Tier)),
    security(("key" = [])),
)]
struct Base;

/// The finished description.
pub struct Spec {
    json: String,
    /// Path template → the methods it has, as `Allow` wants them.
    pub methods: HashMap<String, String>,
}

/// What handlers are added to.
pub fn base() -> OpenApi {
    Base::openapi()
}

/// Adds what every operation has: the key it needs and the problem it may answer.
pub fn finish(mut api: OpenApi) -> Spec {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("`dp_<id>_<secret>`, created by `devpulse keys create`"));
    let components = api.components.get_or_insert_default();
    components.security_schemes.insert("key".to_owned(), SecurityScheme::Http(scheme.build()).into());
    // Its wire form is a sentence, whatever its variants are called.
    let sentence = ObjectBuilder::new().schema_type(Type::String).description(Some("Why there is no value, in words."));
    components.schemas.insert("NoValue".to_owned(), sentence.build().into());
    components.schemas.values_mut().for_each(absent_not_null);
    let mut methods = HashMap::new();
    for (path, item) in &mut api.paths.paths {
        let found: Vec<&str> = operations(item)
            .into_iter()
            .map(|(method, operation)| {
                operation.operation_id = Some(operation_id(method, path));
                operation.responses.responses.iter_mut().for_each(complete);
                add_problem(operation);
                method
            })
            .collect();
        // HEAD is GET without its body, everywhere.
        methods.insert(path.clone(), found.join(", ").replacen("GET", "GET, HEAD", 1));
    }
    // A description that cannot be written would be a fault of the build; a test reads it back.
    Spec { json: api.to_json().unwrap_or_default(), methods }
}

/// A flattened part that is optional may be absent; its derive says that it may be `null`.
fn absent_not_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::AllOf(whole)) = schema else { return };
    for part in &mut whole.items {
        let RefOr::T(Schema::OneOf(choice)) = part else { continue };
        let is_null = |option: &RefOr<Schema>| {
            serde_json::to_value(option).is_ok_and(|json| json.get("type").is_some_and(|kind| kind == "null"))
        };
        if choice.items.iter().any(is_null) {
            let present = choice.items.drain(..).filter(|option| !is_null(option));
            let absent = RefOr::from(ObjectBuilder::new().schema_type(Type::Object).build());
            let any = present.chain([absent]).fold(AnyOfBuilder::new(), AnyOfBuilder::item);
            *part = Schema::from(any.build()).into();
        }
    }
}

fn operations(item: &mut PathItem) -> Vec<(&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?))).collect()
}

/// Names each operation by its method and its path: unique, and stable for generated clients.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1").split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase);
    std::iter::once(method.to_ascii_lowercase()).chain(words).collect::<Vec<_>>().join("_")
}

/// Every response has a description, and a problem has the media type of problems.
fn complete((status, response): (&String, &mut RefOr<Response>)) {
    const JSON: &str = "application/json";
    let RefOr::T(response) = response else { return };
    if response.description.is_empty() {
        let reason = StatusCode::from_bytes(status.as_bytes()).ok().and_then(|status| status.canonical_reason());
        reason.unwrap_or("The answer").clone_into(&mut response.description);
    }
    let problem = response.content.get(JSON).is_some_and(|content| {
        let RefOr::T(content) = content else { return false };
        matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location.ends_with("/Problem"))
    });
    if problem && let Some(content) = response.content.shift_remove(JSON) {
        response.content.insert("application/problem+json".to_owned(), content);
    }
}

fn add_problem(operation: &mut Operation) {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let problem = ResponseBuilder::new()
        .description("What is wrong, where, and how to fix it (RFC 9457).")
        .content("application/problem+json", content);
    operation.responses.responses.entry("default".to_owned()).or_insert_with(|| problem.build().into());
}

/// This description.
#[utoipa::path(tag = "operations", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
#[get("/api/openapi.json")]
pub async fn describe(spec: web::Data<Spec>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(spec.json.clone())
}
