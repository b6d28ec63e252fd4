//! Arguments that make no sense get a hint, and the exit codes of the help page.

#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use common::fednodule;

#[track_caller]
fn check(arguments: &str, expected: &str) {
    let run = fednodule(arguments.split(' '));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert_eq!(run.stderr, expected);
}

#[test]
fn complaints_name_the_argument_and_the_way_out() {
    check(
        "predict --modell x --out y z.mhd",
        "出错：没有参数 --modell；是否想写 --model？\n怎么办：用 `fednodule predict --help` 查看用法与示例。\n",
    );
    check(
        "inspcet x.mhd",
        "出错：没有命令 inspcet；是否想写 inspect？\n怎么办：用 `fednodule --help` 查看用法与示例。\n",
    );
    check(
        "predict --out y z.mhd",
        "出错：缺少参数：--model <FILE>\n怎么办：用 `fednodule predict --help` 查看用法与示例。\n",
    );
    check(
        "predict --model m --out y --mode quick z.mhd",
        "出错：参数 --mode <MODE> 的值 quick 不可用，可选：fast, standard, accurate\n\
         怎么办：用 `fednodule predict --help` 查看用法与示例。\n",
    );
    check(
        "--lang en predict --model m --out y --threshold 2 z.mhd",
        "Failed: --threshold <T> cannot be 2: 0 … 1\nWhat to do: See `fednodule predict --help` for usage and examples.\n",
    );
    check(
        "--lang en export --model m --to weights.bin",
        "Failed: --to <FILE.pth> cannot be weights.bin: *.pth\n\
         What to do: See `fednodule export --help` for usage and examples.\n",
    );
    check(
        "--lang en train --site beijing",
        "Failed: --site <NAME=DIR> cannot be beijing: NAME=DIR\n\
         What to do: See `fednodule train --help` for usage and examples.\n",
    );
}

#[test]
fn machines_get_a_document_about_bad_arguments_too() {
    let run = fednodule(["inspect", "--json"]);
    assert_eq!(run.code, Some(2));
    assert_eq!(run.json()["error"]["kind"], "usage");
}

#[test]
fn help_lists_the_commands_and_the_exit_codes() {
    let chinese = fednodule(["--help"]);
    assert_eq!((chinese.code, chinese.stderr.as_str()), (Some(0), ""));
    for word in
        ["inspect", "phantom", "train", "predict", "evaluate", "export", "demo", "退出码", "130", "用法: fednodule"]
    {
        assert!(chinese.stdout.contains(word), "{word} in {}", chinese.stdout);
    }
    let english = fednodule(["predict", "--help", "--lang", "en"]);
    assert!(english.stdout.contains("Speed against care (default: standard; one of: fast, standard, accurate)"));
    assert!(!english.stdout.contains("用法"));
    assert_eq!(fednodule(["--version"]).stdout.trim(), format!("fednodule {}", env!("CARGO_PKG_VERSION")));
}
