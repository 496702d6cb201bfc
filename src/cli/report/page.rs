//! The report as HTML and as Markdown: templates that escape whatever comes from outside.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, default_auto_escape_callback, escape_formatter};
use serde::Serialize;

use super::super::Failure;
use super::chart::Chart;
use super::view::View;

const HTML: &str = "report.html";
const MARKDOWN: &str = "report.md";

#[derive(Serialize)]
struct Page<'a> {
    view: &'a View,
    charts: &'a [Chart],
}

/// # Errors
/// None in practice: the templates are part of the program.
pub fn html(view: &View, charts: &[Chart]) -> Result<String, Failure> {
    render(HTML, &Page { view, charts })
}

/// # Errors
/// None in practice: the templates are part of the program.
pub fn markdown(view: &View) -> Result<String, Failure> {
    render(MARKDOWN, &Page { view, charts: &[] })
}

fn render(name: &str, page: &Page<'_>) -> Result<String, Failure> {
    let rendered = templates().and_then(|templates| {
        let template = templates.get_template(name)?;
        template.render(minijinja::value::Serde(page))
    });
    Ok(rendered.map_err(std::io::Error::other)?)
}

/// By their names: what goes into `.html` is escaped for HTML, into `.md` for Markdown.
fn templates() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.set_auto_escape_callback(|name| match name {
        MARKDOWN => AutoEscape::Custom("markdown".into()),
        name => default_auto_escape_callback(name),
    });
    environment.set_formatter(|out, state, value| match state.auto_escape() {
        AutoEscape::Custom(_) => out.write_str(&plain(&value.to_string())).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    });
    environment.add_template(HTML, include_str!("templates/report.html"))?;
    environment.add_template(MARKDOWN, include_str!("templates/report.md"))?;
    Ok(environment)
}

/// Markdown that shows this text and does nothing else, in a table's cell too.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => plain.push(' '),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' => {
                plain.push('\\');
                plain.push(letter);
            }
            letter => plain.push(letter),
        }
    }
    // A bare URL would become a link.
    plain.replace("://", ":\\//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(plain("<script>"), "&lt;script&gt;");
        assert_eq!(plain("a|b\nc"), r"a\|b c");
        assert_eq!(plain("![x](javascript:y)"), r"!\[x\](javascript:y)");
        assert_eq!(plain("see https://example.com"), r"see https:\//example.com");
        assert_eq!(plain("3 h 20 min (4) !"), "3 h 20 min (4) !");
    }
}
