use crate::{check, outcome, text};
use grammar::jsonpath::{JsonPath, relaxed};
use serde_json::Value;

#[test]
fn templates_print_as_upstreams() {
    let mut document = Value::Null;
    check("jsonpath", 150, |check, case| {
        if case["document"].is_object() {
            // The first row holds the document that the others look at.
            document = case["document"].clone();
            return;
        }
        for mode in ["strict", "lenient", "json"] {
            // Upstream panics on a few templates; here they are to answer, no matter what.
            let panics = case[format!("{mode}_panics")] == true;
            let result = JsonPath::parse(text(case, "template")).and_then(|path| {
                let path = path.allow_missing_keys(mode != "strict");
                if mode == "json" { path.print_as_json(&document) } else { path.print(&document) }
            });
            let (print, error) = outcome(&result);
            if !panics {
                check.same(case, mode, print);
                check.same(case, &format!("{mode}_error"), error);
            }
        }
    });
}

#[test]
fn expressions_may_leave_out_braces_and_dots() {
    let check = |expression: &str, want: Option<&str>| {
        assert_eq!(relaxed(expression).ok().as_deref(), want, "{expression}");
    };
    check("metadata.name", Some("{.metadata.name}"));
    check(".metadata.name", Some("{.metadata.name}"));
    check("{metadata.name}", Some("{.metadata.name}"));
    check("{.metadata.name}", Some("{.metadata.name}"));
    check("", Some(""));
    check("{}", None);
    check("a}b", None);
    check("{a", None);
}

#[test]
fn templates_cannot_find_without_end() {
    let mut tree = Value::from(1);
    for _ in 0..100 {
        tree = serde_json::json!({ "a": tree });
    }
    let template = format!("{{{}}}", "..a".repeat(20));
    let result = JsonPath::parse(&template).and_then(|path| path.print(&tree));
    assert_eq!(outcome(&result).1, "template finds too many results");
}
