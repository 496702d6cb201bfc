//! `${env:NAME}` and `${file:/path}` inside texts.

use super::error::did_you_mean;
use super::reader::Variables;

/// The text with its references filled in, and whether there were any.
///
/// # Errors
/// A sentence that names the reference, never its value.
pub(super) fn expand(text: &str, variables: &Variables) -> Result<(String, bool), String> {
    let mut out = String::new();
    let mut expanded = false;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, tail) = rest.split_at(start);
        let body = tail.get(2..).unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = body;
            continue;
        }
        let (name, after) =
            body.split_once('}').ok_or("a reference `${` has no closing `}` (a literal `${` is written `$${`)")?;
        out.push_str(before);
        out.push_str(&resolve(name, variables)?);
        expanded = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((out, expanded))
}

fn resolve(name: &str, variables: &Variables) -> Result<String, String> {
    match name.split_once(':') {
        Some(("env", variable)) => variables.get(variable).cloned().ok_or_else(|| {
            let hint = did_you_mean(variable, variables.keys().map(String::as_str));
            format!("the environment variable {variable} is not set{hint}")
        }),
        Some(("file", path)) => match std::fs::read_to_string(path) {
            Ok(content) => Ok(content.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(format!("the file {path} cannot be read: {error}")),
        },
        _ => Err(format!("`${{{name}}}` is not a reference; write ${{env:NAME}} or ${{file:/path}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_may_stand_inside_a_text() {
        let variables = Variables::from([("PW".to_owned(), "s3cret".to_owned())]);
        let expand = |text| expand(text, &variables);
        assert_eq!(expand("postgres://u:${env:PW}@h/d"), Ok(("postgres://u:s3cret@h/d".to_owned(), true)));
        assert_eq!(expand("$${env:PW} costs $5"), Ok(("${env:PW} costs $5".to_owned(), false)));
        assert!(expand("${env:PX}").unwrap_err().ends_with("is not set; did you mean `PW`?"));
        assert!(expand("${file:/nowhere/at/all}").unwrap_err().starts_with("the file /nowhere/at/all cannot be read"));
        assert!(expand("${vault:x}").is_err() && expand("${env:PW").is_err());
    }
}
