//! The help of the command line: one entry for each command and each argument.

use super::Language;

/// The help of a command (`predict`) or of one of its arguments (`predict.model`); `fednodule` is the program itself,
/// and `*.json` an argument that every command has. `None` for a key that has none, which a test of the command line
/// rules out.
pub fn help(key: &str, language: Language) -> Option<&'static str> {
    let wildcard = key.split_once('.').map(|(_, argument)| format!("*.{argument}"));
    let find = |key: &str| HELP.iter().find(|(known, _, _)| *known == key);
    let (_, zh, en) = find(key).or_else(|| find(&wildcard?))?;
    Some(match language {
        Language::Zh => zh,
        Language::En => en,
    })
}

const HELP: &[(&str, &str, &str)] = &[
    (
        "fednodule",
        "胸部 CT 肺结节的联邦学习检测（研究用途）",
        "Federated detection of lung nodules in chest CT (for research)",
    ),
    (
        "fednodule.after",
        "退出码：0 成功；1 运行失败；2 参数有误；3 输入数据不可用；4 无法写入（权限、磁盘满、文件已存在）；130 被中断（Ctrl-C）。\n\
         环境变量：FEDNODULE_LANG=zh|en 选择语言（命令行 --lang 优先；否则按系统 LANG，默认中文）。",
        "Exit codes: 0 success; 1 the run failed; 2 bad arguments; 3 unusable input data; 4 cannot write (permissions, full \
         disk, file exists); 130 interrupted (Ctrl-C).\n\
         Environment: FEDNODULE_LANG=zh|en chooses the language (--lang comes first; otherwise the system's LANG, Chinese \
         by default).",
    ),
    ("*.help", "显示帮助", "Print help"),
    ("*.version", "显示版本", "Print version"),
    ("*.lang", "显示语言：zh 或 en", "Language: zh or en"),
    (
        "*.json",
        "在标准输出给出一个 JSON 文档（进度只在标准错误）",
        "Print one JSON document on standard output (progress goes to standard error only)",
    ),
    (
        "*.supervised",
        "由上级程序监管：标准错误每行一个 JSON 事件；标准输入接受 suspend（暂停）与 cancel（终止），输入结束即暂停",
        "Run under a supervisor: one JSON event a line on standard error; suspend and cancel are taken from standard input, whose end suspends",
    ),
    (
        "inspect",
        "查看一个影像文件：几何、类型、CT 值范围、文件配对问题",
        "Look at an image file: geometry, type, CT values, pairing problems",
    ),
    ("inspect.scan", "影像文件（.mhd 或 .mha）", "Image file (.mhd or .mha)"),
    (
        "phantom",
        "生成合成体模数据集（LUNA16 布局，含真值）",
        "Write synthetic phantoms with their truth, laid out as LUNA16",
    ),
    ("phantom.out", "输出文件夹；中断后再次运行会继续", "Output folder; an interrupted run goes on when started again"),
    ("phantom.sites", "医院数", "Number of hospitals"),
    ("phantom.scans", "每家医院的扫描数", "Scans of each hospital"),
    (
        "phantom.size",
        "体模大小：full 为成人 512×512，small 用于测试",
        "Size: full is an adult on 512×512 voxels, small is for tests",
    ),
    ("phantom.seed", "随机种子；相同种子得到相同的文件", "Seed; the same seed gives the same files"),
    (
        "train",
        "让多个中心联合训练一个模型，影像不离开各中心的文件夹",
        "Train one model across several sites; images stay in their folders",
    ),
    (
        "train.sites",
        "中心名与其文件夹（LUNA16 解压后的布局，或平铺）；可多次给出",
        "A site's name and folder (LUNA16 as it unpacks, or flat); may be given several times",
    ),
    (
        "train.annotations",
        "所有中心共用的标注表；不给则在各文件夹内外查找 annotations.csv",
        "Annotations for all sites; by default annotations.csv is looked for in and beside each folder",
    ),
    ("train.rounds", "全局轮数（1–20）", "Global rounds (1-20)"),
    ("train.local_epochs", "每轮的本地训练次数（1–10）", "Local epochs in each round (1-10)"),
    ("train.algorithm", "联邦算法", "Federated algorithm"),
    (
        "train.out",
        "输出文件夹：models/、sessions/、training_history.json",
        "Output folder: models/, sessions/, training_history.json",
    ),
    ("train.session", "训练任务的名字；不给则取下一个编号", "Name of the session; the next number by default"),
    ("train.resume", "继续一个被中断的训练任务", "Go on with an interrupted session"),
    ("train.network", "网络大小", "Size of the network"),
    ("train.initial", "从这个模型开始，而不是随机权重", "Start from this model instead of random weights"),
    ("train.patches_per_epoch", "一次本地训练的小块数", "Patches of one local epoch"),
    ("train.patch_size", "小块的边长（体素，16 的倍数）", "Edge of a patch in voxels, a multiple of 16"),
    ("train.batch_size", "每步的小块数", "Patches of one step"),
    (
        "train.min_lung_ml",
        "双肺体积（mL）低于此值时视为分割失败、改为搜索整个体部；儿童或小体模请调低（小体模用 150）",
        "Lungs of less volume (mL, both) count as badly outlined, and the whole body is searched instead; lower it for children or small phantoms (150 for these)",
    ),
    (
        "train.sampling",
        "取样：usual 常规；brief 用于几分钟的短训练，更多取结节处",
        "Places that are trained on: usual, or brief for runs of minutes, which looks at more nodules",
    ),
    (
        "train.min_sites",
        "一轮至少需要的中心数；默认 2，只有一个中心时为 1",
        "Sites that a round needs at least; 2 by default, 1 where only one is named",
    ),
    (
        "train.protection",
        "更新的保护方式；默认三个及以上中心用安全聚合（secure-aggregation），更少时加密给协调方（sealed，未启用安全聚合）",
        "How updates are protected; by default secure-aggregation from three sites on, and with fewer sealed to the coordinator",
    ),
    (
        "train.max_update_norm",
        "每个中心的更新的最大二范数；更长的在离开前按比例缩短",
        "Longest Euclidean norm of a site's update; a longer one is scaled down before it leaves",
    ),
    (
        "train.privacy_noise",
        "启用患者级差分隐私：噪声倍数 σ；不给则不启用",
        "Switches patient-level differential privacy on: its noise multiplier σ; off without it",
    ),
    ("train.privacy_clip", "每位患者每步梯度的最大范数", "Longest gradient of a patient in a step"),
    (
        "train.privacy_epsilon",
        "各中心数据在所有任务中最多可用的 ε；用完即停",
        "Largest ε that a site's data may cost over all sessions; training stops there",
    ),
    ("train.privacy_delta", "与 ε 相配的 δ", "The δ that goes with it"),
    (
        "train.round_deadline",
        "每轮训练（及评估）的时限（秒）；不给则等待所有中心",
        "Seconds for the sites to train in a round, and again to evaluate; without it a round waits for all",
    ),
    ("train.learning_rate", "学习率", "Learning rate"),
    ("train.seed", "随机种子", "Seed"),
    ("train.note", "写入模型文件的来源与局限说明", "What the model file says about its origin and limits"),
    ("train.device", "计算设备", "Where to compute"),
    (
        "train.after",
        "示例：\n  fednodule train --site A=data/A --site B=data/B --rounds 5 --out output\n  fednodule train --resume 1 --out output\nCtrl-C 会在当前步后停止并保存，之后可用 --resume 继续。",
        "Examples:\n  fednodule train --site A=data/A --site B=data/B --rounds 5 --out output\n  fednodule train --resume 1 --out output\nCtrl-C stops after the current step and saves; --resume goes on.",
    ),
    (
        "demo",
        "在合成体模上演示全过程：生成、联邦训练、比较、检出报告",
        "The whole way on synthetic phantoms: generate, train, compare, report",
    ),
    (
        "demo.quick",
        "几分钟的小规模演示（结果不说明性能）",
        "A small run of minutes (its results say nothing about performance)",
    ),
    (
        "demo.serve",
        "在这个地址启动网页平台，联邦训练在其上进行，可以观看",
        "Start the web platform on this address; the federated training runs there and can be watched",
    ),
    ("demo.exit", "完成后结束，而不是继续提供网页", "End when everything is done instead of serving on"),
    ("demo.out", "输出文件夹", "Output folder"),
    (
        "serve",
        "启动网页平台：账户、上传、训练、推理、阅片（数据在一个文件夹中）",
        "Start the web platform: accounts, uploads, trainings, inference, viewer, kept in one folder",
    ),
    ("serve.config", "设置文件（TOML）", "File with settings (TOML)"),
    (
        "serve.listen",
        "监听的地址与端口；不给则按设置，默认 127.0.0.1:8080",
        "Address and port to listen on; by default that of the settings, 127.0.0.1:8080",
    ),
    (
        "serve.data",
        "数据文件夹；不给则按设置，默认 fednodule-data",
        "Data folder; by default that of the settings, fednodule-data",
    ),
    (
        "serve.print_config",
        "列出所有设置、默认值与说明，然后退出",
        "Print every setting with its default and its meaning, and stop",
    ),
    (
        "serve.after",
        "首次启动会显示一次性设置令牌，用它在网页上创建管理员；没有默认密码。\n设置的优先级：命令行 > 环境变量（FEDNODULE__SERVER__LISTEN 等）> .env > 文件 > 默认。\n示例：\n  fednodule serve --print-config > serve.toml\n  fednodule serve --config serve.toml --listen 0.0.0.0:8080",
        "The first start shows a one-time token, which makes the administrator on the web page; there is no default password.\nSettings, the strongest first: command line, environment (FEDNODULE__SERVER__LISTEN and so on), .env, file, default.\nExamples:\n  fednodule serve --print-config > serve.toml\n  fednodule serve --config serve.toml --listen 0.0.0.0:8080",
    ),
    (
        "verify-audit",
        "校验网页平台审计日志的散列链，指出第一条不可信的记录",
        "Check the hash chain of the web platform's audit log and name the first entry that cannot be trusted",
    ),
    ("verify-audit.data", "fednodule serve 的数据文件夹", "Data folder of fednodule serve"),
    (
        "verify-audit.after",
        "服务器运行时也可校验。日志不完整时退出码为 3。\n请把末条散列值记在别处：日后比对即可证明此前的记录未被改动或删去。",
        "A running server is no obstacle. A broken log ends with exit code 3.\nNote the last hash elsewhere: compared later, it proves that nothing before it was changed or cut off.",
    ),
    (
        "secagg-check",
        "用测试向量文件核对安全聚合协议 FLSA1，指出第一个不同的值",
        "Check the secure aggregation protocol FLSA1 against a file of test vectors and name the first value that differs",
    ),
    ("secagg-check.file", "测试向量（JSON）", "Test vectors (JSON)"),
    (
        "secagg-check.seed",
        "生成向量所用的种子；不给则取文件中的 seed，否则试空串与中心数",
        "The seed that the vectors were made with; by default that of the file, else the empty one and the number of sites are tried",
    ),
    (
        "predict",
        "在 CT 中标出可疑结节，每例生成表格、JSON、图像与报告",
        "Mark suspected nodules in CT scans: tables, JSON, pictures and a report for each",
    ),
    ("predict.model", "模型文件（.safetensors 或 .pth）", "Model file (.safetensors or .pth)"),
    (
        "predict.out",
        "输出文件夹：每例一个子文件夹，另有 predictions.csv（LUNA16 提交格式）",
        "Output folder: one folder for each scan, and predictions.csv (LUNA16's submission format)",
    ),
    ("predict.mode", "速度与精细度", "Speed against care"),
    ("predict.threshold", "置信度低于此值的检出不列出（0 到 1）", "Leave out detections of lower confidence (0 to 1)"),
    ("predict.device", "计算设备", "Where to compute"),
    (
        "predict.scan",
        "影像文件，或含影像的文件夹（如 LUNA16 的 subset0）；一例出错不影响其余",
        "Image files, or folders of them (such as LUNA16's subset0); one bad scan does not stop the others",
    ),
    (
        "predict.after",
        "示例：\n  fednodule predict --model model.safetensors --out results scan.mhd\n\n--json：只给一个影像文件时输出该例的对象；给多个或文件夹时输出数组，失败的例为 {path, error}。",
        "Example:\n  fednodule predict --model model.safetensors --out results scan.mhd\n\n--json: one image file gives the object of that scan; several, or a folder, give an array, where a failed scan is \
         {path, error}.",
    ),
    (
        "evaluate",
        "按 LUNA16 官方规则评价检出结果（FROC、CPM）",
        "Evaluate detections by LUNA16's official rules (FROC, CPM)",
    ),
    (
        "evaluate.after",
        "示例：\n  fednodule evaluate --submission results/predictions.csv --annotations annotations.csv --seriesuids seriesuids.csv",
        "Example:\n  fednodule evaluate --submission results/predictions.csv --annotations annotations.csv --seriesuids seriesuids.csv",
    ),
    (
        "evaluate.submission",
        "检出结果表（seriesuid,coordX,coordY,coordZ,probability），可为 .gz",
        "Table of detections (seriesuid,coordX,coordY,coordZ,probability); .gz is fine",
    ),
    ("evaluate.annotations", "结节标注表 annotations.csv，可为 .gz", "Table of nodules, annotations.csv; .gz is fine"),
    (
        "evaluate.excluded",
        "不计分的可疑灶表 annotations_excluded.csv，可为 .gz",
        "Table of findings that count neither way, annotations_excluded.csv; .gz is fine",
    ),
    (
        "evaluate.seriesuids",
        "参与评价的扫描列表 seriesuids.csv，可为 .gz",
        "List of the scans that count, seriesuids.csv; .gz is fine",
    ),
    (
        "evaluate.out",
        "写出 froc.csv、froc.svg、evaluation.json 的文件夹",
        "Folder for froc.csv, froc.svg and evaluation.json",
    ),
    (
        "export",
        "把模型导出为 PyTorch 的 .pth（torch.load 可直接读取）",
        "Export a model as a .pth that torch.load reads",
    ),
    ("export.model", "模型文件（.safetensors）", "Model file (.safetensors)"),
    ("export.to", "要写的 .pth；已有文件不会被覆盖", "The .pth to write; an existing file is never overwritten"),
    // Words of the help page itself.
    ("page.usage", "用法", "Usage"),
    ("page.commands", "命令", "Commands"),
    ("page.arguments", "参数", "Arguments"),
    ("page.options", "选项", "Options"),
    ("page.default", "默认", "default"),
    ("page.choices", "可选", "one of"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_unique_and_texts_are_not_empty() {
        let keys: BTreeSet<_> = HELP.iter().map(|(key, _, _)| key).collect();
        assert_eq!(keys.len(), HELP.len());
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for (key, zh, en) in HELP {
            assert!(chinese(zh) && !chinese(en) && !en.is_empty(), "{key}");
        }
    }

    #[test]
    fn an_argument_of_every_command_is_found_under_its_wildcard() {
        assert_eq!(help("predict.json", Language::En), help("*.json", Language::En));
        assert_eq!(help("predict.unheard", Language::En), None);
    }
}
