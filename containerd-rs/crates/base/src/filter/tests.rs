#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::error::wire_text;
use proptest::prelude::*;

struct Object {
    name: &'static str,
    other: &'static str,
    labels: Labels,
}

impl Fields for Object {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(self.name)),
            ["other"] => Some(Cow::Borrowed(self.other)),
            ["labels", rest @ ..] => label_field(&self.labels, rest),
            _ => None,
        }
    }
}

fn corpus() -> Vec<Object> {
    [
        ("foo", "", &[("foo", "true")][..]),
        ("bar", "", &[]),
        ("foo", "", &[("foo", "present"), ("more complex label with \\ and \"", "present")]),
        ("bar", "", &[("bar", "true")]),
        (
            "fooer",
            "",
            &[
                ("more complex label with \\ and \"", "present"),
                ("more complex label with \\ and \".post", "present"),
            ],
        ),
        ("baz", "too complex, yo", &[("a.b.c", "ü")]),
        ("bazo", "abc", &[("empty", "")]),
        ("compound", "random", &[("foo", "omg_asdf.asdf-qwer")]),
    ]
    .into_iter()
    .map(|(name, other, labels)| Object {
        name,
        other,
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    })
    .collect()
}

fn select(filters: &[&str]) -> Vec<usize> {
    let set = FilterSet::parse(filters).unwrap();
    corpus().iter().enumerate().filter(|(_, o)| set.matches(*o)).map(|(i, _)| i).collect()
}

#[test]
fn selections() {
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    for (filters, want) in [
        (&[][..], &all[..]),
        (&[""], &all),
        (&["", "name==nothing"], &all),
        (&["name"], &all),
        (&["nosuch"], &[]),
        (&["name==bar"], &[1, 3]),
        (&["name == bar"], &[1, 3]),
        (&["name!=bar"], &[0, 2, 4, 5, 6, 7]),
        (&["nosuch!=x"], &all),
        (&["name==\"bar\""], &[1, 3]),
        (&["labels.bar"], &[3]),
        (&["labels.foo==true"], &[0]),
        (&["labels.foo!=true"], &[1, 2, 3, 4, 5, 6, 7]),
        (&["labels.empty"], &[6]),
        (&["labels.empty==\"\""], &[6]),
        (&["labels.a.b.c==ü"], &[5]),
        (&["labels.\"a.b\".c==ü"], &[5]),
        (&["labels.a.b.c==\"\\u00fc\""], &[5]),
        (&["labels.a.b.c==\"\\xc3\\xbc\""], &[5]),
        (&["labels.a.b.c==\"\\xfc\""], &[]),
        (&["name~=foo"], &[0, 2, 4]),
        (&["name~=^foo$"], &[0, 2]),
        (&["name~=\"^foo$\""], &[0, 2]),
        (&["name~=/^foo$/"], &[0, 2]),
        (&["name~=|^(foo\\|bar)$|"], &[0, 1, 2, 3]),
        (&["name~=/^[abc]{3}$/"], &[]),
        (&["name~=/ba[rz]o?/"], &[1, 3, 5, 6]),
        (&["name~=/[/"], &[]),
        (&["labels.nosuch~=/^$/"], &all),
        (&["labels.foo~=\"^o[mg_]+\\\\w+\""], &[7]),
        (&["name==foo,labels.foo==true"], &[0]),
        (&["name==foo, labels.foo==true"], &[0]),
        (&["name==foo,labels.foo"], &[0, 2]),
        (&["name==foo", "labels.bar"], &[0, 2, 3]),
        (&["labels.\"more complex label with \\\\ and \\\"\"==present"], &[2, 4]),
        (&["labels.\"more complex label with \\\\ and \\\"\".post==present"], &[4]),
        (&["other==\"too complex, yo\""], &[5]),
        (&["labels.foo==omg_asdf.asdf-qwer"], &[7]),
        (&["name==a=b"], &[]),
    ] {
        assert_eq!(select(filters), want, "{filters:?}");
    }
}

#[test]
fn errors_say_where() {
    for (filter, text) in [
        ("name=foo", r#"[name >|=|< foo]: unsupported operator "=""#),
        ("name===foo", r#"[name >|=|< ==foo]: unsupported operator "===""#),
        ("name==", "[name==]: expected value or quoted"),
        ("name==,", "[name== >|,|< ]: expected value or quoted"),
        ("name==foo bar", "[name==foo >| |< bar]: unexpected input:  "),
        ("name==foo , x", "[name==foo >| |< , x]: unexpected input:  "),
        ("name==\"a\"b", "[name==\"a\" >|b|< ]: unexpected input: b"),
        ("name,", "[name,]: expected field or quoted"),
        (",", "[ >|,|< ]: expected field or quoted"),
        ("-", "[ >|-|< ]: expected field or quoted"),
        ("name.", "[name.]: expected field or quoted"),
        ("name bar", r#"[name  >|b|< ar]: expected an operator ("=="|"!="|"~=")"#),
        ("name==/foo/", "[name== >|/|< foo/]: invalid quote encountered"),
        ("topic==/tasks/exit", "[topic== >|/|< tasks/exit]: invalid quote encountered"),
        ("name==|foo|", "[name== >|||< foo|]: invalid quote encountered"),
        ("/name/==a", "[ >|/|< name/==a]: invalid quote encountered"),
        ("name~=/foo", "[name~= >|/|< foo]: quoted literal not terminated"),
        ("name==\"foo", "[name== >|\"|< foo]: quoted literal not terminated"),
        ("name==\"fo\no\"", "[name== >|\"|< fo\no\"]: quoted literal not terminated"),
        ("name~=/\\d/", "[name~= >|/|< \\d/]: illegal escape sequence"),
        ("name==\"\\x1\"", "[name== >|\"|< \\x1\"]: illegal numeric escape sequence"),
        ("name==\"\\777\"", "[name== >|\"|< \\777\"]: unquoting failed: quote syntax error"),
        ("name==\"\\U00ffffff\"", "[name== >|\"|< \\U00ffffff\"]: unquoting failed: quote syntax error"),
        ("name==\0", "[name== >|\0|< ]: unexpected null"),
        ("name\u{fffd}", "[name >|\u{fffd}|< ]: rune error"),
        ("ü==1", "[ >|ü|< ==1]: expected field or quoted"),
        (" ", "[ ]: expected field or quoted"),
    ] {
        let e = FilterSet::parse(&[filter]).unwrap_err();
        assert_eq!(e.to_string(), format!("filters: parse error: {text}"), "{filter}");
        assert!(wire_text(&e, &e).ends_with(": invalid argument"));
    }
}

#[test]
fn one_wrong_filter_fails_all() {
    assert!(FilterSet::parse(&["name==a", "name=="]).is_err());
    assert!(FilterSet::parse(&["", "a"]).unwrap().is_all());
    assert!(FilterSet::all().is_all() && !FilterSet::parse(&["a"]).unwrap().is_all());
}

#[test]
fn regular_expressions_of_every_day() {
    for (expression, text, want) in [
        (r"^docker\\.io/library/", "docker.io/library/busybox:latest", true),
        (r"^docker\\.io/library/", "dockerxio/library/busybox", false),
        ("(?i)BUSY", "busybox", true),
        ("^[[:alnum:]]+$", "abc123", true),
        ("^[[:alnum:]]+$", "abc-123", false),
        (r"\\bfoo\\b", "a foo b", true),
        (r"^\\d{3}\\s\\w+$", "123 a_b", true),
        (r"^\\d$", "٣", false),
        ("a.c", "aüc", true),
        ("(?P<n>x)|(?:y)", "y", true),
        ("^a*?b$", "aab", true),
        (r"\\Aabc\\z", "abc", true),
        ("", "", true),
        ("(a", "(a", false),
        (r"(a)\\1", "aa", false),
        ("(?=a)a", "a", false),
    ] {
        let set = FilterSet::parse(&[format!("labels.k~=\"{expression}\"")]).unwrap();
        let object =
            Object { name: "", other: "", labels: Labels::from([("k".to_owned(), text.to_owned())]) };
        assert_eq!(set.matches(&object), want, "{expression} {text}");
    }
}

#[test]
fn huge_expressions_match_nothing() {
    for expression in [
        "((((a{1000}){1000}){1000}){1000})",
        &"(".repeat(5000),
        &format!("{}a{}", "(".repeat(5000), ")".repeat(5000)),
    ] {
        let set = FilterSet::parse(&[format!("name~=/{expression}/")]).unwrap();
        assert!(!set.matches(&corpus()[0]));
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn never_panics(s in "\\PC{0,60}", t in r#"[a-z.,=!~"/|\\xuU0-9 \n]{0,40}"#) {
        for f in [s, t] {
            if let Err(e) = FilterSet::parse(&[f]) {
                let _ = e.to_string();
            }
        }
    }

    #[test]
    fn quoted_values_turn_back(value in "[^\u{0}\u{fffd}\n]{0,30}") {
        let quoted: String = value.chars().flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        }).collect();
        let set = FilterSet::parse(&[format!("labels.k==\"{quoted}\"")]).unwrap();
        let object = Object { name: "", other: "", labels: Labels::from([("k".to_owned(), value)]) };
        prop_assert!(set.matches(&object));
    }
}
