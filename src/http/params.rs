//! Query parameters: unknown ones are refused with a suggestion, empty ones count as missing.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use utoipa::IntoParams;

use super::Problem;
use crate::config::duration;
use crate::time::Timestamp;

/// The years that times in parameters may lie in.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// A name this alike is suggested.
const ALIKE: f64 = 0.75;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;

/// The parameters of a request, in two groups that are documented apart. Fields are `Option<String>`.
#[derive(Debug)]
pub struct Params<A, B = Nothing>(pub A, pub B);

/// No second group.
#[derive(Debug, serde::Deserialize, IntoParams)]
pub struct Nothing {}

impl<A, B> FromRequest for Params<A, B>
where
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
{
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.query_string()))
    }
}

impl<A, B> Params<A, B>
where
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
{
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut known = names::<A>();
        known.extend(names::<B>());
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&name.as_ref().to_owned()) {
                return Err(unknown_parameter(&name, &known));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(invalid(&name, "is given twice"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        let clean = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        Ok(Self(typed(&clean)?, typed(&clean)?))
    }
}

fn names<T: IntoParams>() -> Vec<String> {
    T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect()
}

/// Every field is an optional text and every name is known by now, so this fails for nobody.
fn typed<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let parsed = web::Query::<T>::from_query(query);
    parsed.map(web::Query::into_inner).map_err(|_| Problem::bad_request("invalid_parameter", "the query is unreadable"))
}

fn unknown_parameter(name: &str, known: &[String]) -> Problem {
    let hint = suggestion(name, known.iter().map(String::as_str)).unwrap_or_default();
    let allowed = if known.is_empty() {
        "there are no parameters here".to_owned()
    } else {
        format!("allowed: {}", known.join(", "))
    };
    Problem::bad_request("unknown_parameter", format!("unknown parameter `{name}`{hint}; {allowed}")).at(name)
}

/// `: did you mean …?` where one of the known names is alike.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let (score, best) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= ALIKE).then(|| format!(": did you mean `{best}`?"))
}

/// 400: the parameter `name`, and what is wrong with it.
pub fn invalid(name: &str, what: &str) -> Problem {
    Problem::bad_request("invalid_parameter", format!("`{name}` {what}")).at(name)
}

/// # Errors
/// 400 when the text is not RFC 3339 or the year not one of 1 to 9999.
pub fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    // A `+` that was not escaped arrives as a space.
    let time = Timestamp::parse(&text.replace(' ', "+")).ok().filter(|time| YEARS.contains(&time.seconds()));
    let what = "must be an RFC 3339 time with an offset, such as 2026-01-05T10:04:00Z";
    time.map(Some).ok_or_else(|| invalid(name, what))
}

/// # Errors
/// 400 when the text is no duration, zero, or longer than a century.
pub fn window(name: &str, text: &str) -> Result<Duration, Problem> {
    let parsed = duration::parse(text).map_err(|what| invalid(name, &what))?;
    let century = Duration::from_hours(36_525 * 24);
    if parsed.is_zero() || parsed > century {
        return Err(invalid(name, "must be longer than zero and at most 100 years"));
    }
    Ok(parsed)
}

/// One of the names that a type's serde form has.
///
/// # Errors
/// 400 with the names that there are.
pub fn one_of<T: DeserializeOwned>(name: &str, text: Option<&str>, names: &str) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    parsed.map(Some).map_err(|_| not_one_of(name, text, names))
}

/// 400: `text` is none of `names`, a list with commas.
pub fn not_one_of(name: &str, text: &str, names: &str) -> Problem {
    let hint = suggestion(text, names.split(", ")).unwrap_or_default();
    invalid(name, &format!("must be one of {names}, not `{text}`{hint}"))
}

/// # Errors
/// 400 for anything but `true` and `false`.
pub fn flag(name: &str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid(name, "must be true or false")),
    }
}

/// A page of a list.
#[derive(Debug, Clone, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// At most so many items, 1 to 500; 100 without it.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl PageParams {
    /// # Errors
    /// 400 when it is not a number from 1 to 500.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| invalid("limit", "must be a number from 1 to 500"))
    }

    /// # Errors
    /// 400 when it is not a cursor of this list.
    pub fn cursor<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
        decoded.map(Some).ok_or_else(|| invalid("cursor", "must be `next` of a page of this list"))
    }
}

/// The opaque text of a position in a list.
pub fn cursor<T: Serialize>(position: &T) -> Option<String> {
    serde_json::to_vec(position).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<PageParams, Problem> {
        Params::<PageParams>::parse(query).map(|params| params.0)
    }

    #[test]
    fn unknown_parameters_are_refused_with_a_suggestion() {
        let problem = parse("limits=3").unwrap_err();
        assert_eq!(
            (problem.status, problem.kind, problem.pointer.as_deref()),
            (400, "unknown_parameter", Some("limits"))
        );
        assert!(problem.detail.contains("did you mean `limit`?"), "{}", problem.detail);
        assert!(parse("limit=3&limit=4").is_err());
    }

    #[test]
    fn a_value_that_does_not_exist_is_named_with_those_that_do() {
        let problem = one_of::<crate::alert::State>("state", Some("fireing"), "pending, firing, resolved").unwrap_err();
        assert_eq!((problem.kind, problem.pointer.as_deref()), ("invalid_parameter", Some("state")));
        let said = "`state` must be one of pending, firing, resolved, not `fireing`: did you mean `firing`?";
        assert_eq!(problem.detail, said);
    }

    #[test]
    fn empty_parameters_count_as_missing() {
        let params = parse("limit=&cursor=").unwrap();
        assert_eq!(params.limit().unwrap(), 100);
        assert!(params.cursor::<u64>().unwrap().is_none());
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        for query in ["limit=0", "limit=501", "limit=x", "limit=-1"] {
            assert!(parse(query).unwrap().limit().is_err(), "{query}");
        }
        let text = cursor(&(7, "a")).unwrap();
        assert_eq!(parse(&format!("cursor={text}")).unwrap().cursor::<(i64, String)>().unwrap().unwrap().0, 7);
        assert!(parse("cursor=%00").unwrap().cursor::<(i64, String)>().is_err());
    }

    #[test]
    fn times_survive_an_unescaped_plus() {
        let t = time("from", Some("2026-01-05T10:00:00 01:00")).unwrap().unwrap();
        assert_eq!(t.to_string(), "2026-01-05T09:00:00Z");
        assert!(time("from", Some("2026-01-05")).is_err());
        assert!(window("window", "0d").is_err() && window("window", "30d").is_ok());
    }
}
