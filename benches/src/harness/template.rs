//! Texts with `{{name}}` in them: the configurations of `benches/conf`.

use anyhow::{Result, bail};

/// The template with every `{{name}}` replaced.
///
/// # Errors
/// A name without a value, and a value whose name is not in the template.
pub fn render(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    let mut used = Vec::new();
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            bail!("a name does not end: {{{{{behind}");
        };
        let Some((known, value)) = values.iter().find(|(known, _)| *known == name) else {
            bail!("no value for {{{{{name}}}}}");
        };
        text.push_str(before);
        text.push_str(value);
        used.push(*known);
        rest = after;
    }
    if let Some((unused, _)) = values.iter().find(|(name, _)| !used.contains(name)) {
        bail!("{{{{{unused}}}}} is not in the template");
    }
    Ok(text + rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::render;

    #[test]
    fn names_are_replaced_wherever_they_are() {
        let text = render("a {{x}} {{y}} {{x}} }", &[("x", "1"), ("y", "{2}")]).unwrap();
        assert_eq!(text, "a 1 {2} 1 }");
    }

    #[test]
    fn missing_and_superfluous_values_are_errors() {
        assert!(render("{{x}}", &[]).is_err());
        assert!(render("x", &[("x", "1")]).is_err());
        assert!(render("{{x", &[("x", "1")]).is_err());
    }
}
