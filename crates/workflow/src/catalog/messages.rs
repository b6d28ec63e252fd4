//! Sentences and words, except the help of the command line.

use std::fmt::Display;

use super::Language;

/// Makes one variant and two texts of each entry; `{name}` in a text shows the argument of that name.
macro_rules! messages {
    ($($key:ident $({ $($argument:ident),+ })?: $zh:literal / $en:literal;)*) => {
        /// A sentence with its arguments.
        #[derive(Clone, Copy)]
        pub enum Message<'a> {
            $(
                #[doc = $en]
                $key $({ $(#[doc = "Shown in the text."] $argument: &'a dyn Display),+ })?,
            )*
        }

        impl Message<'_> {
            /// The sentence.
            pub fn text(&self, language: Language) -> String {
                match (self, language) {
                    $(
                        (Self::$key $({ $($argument),+ })?, Language::Zh) => format!($zh),
                        (Self::$key $({ $($argument),+ })?, Language::En) => format!($en),
                    )*
                }
            }
        }
    };
}

messages! {
    // What to do about an error.
    Failed: "出错" / "Failed";
    Advice: "怎么办" / "What to do";
    Cause: "原因" / "Cause";
    Hint: "提示" / "Hint";
    Warning: "注意" / "Note";
    AdviceUsage { command }: "用 `{command} --help` 查看用法与示例。" / "See `{command} --help` for usage and examples.";
    AdviceMissingData: "把与 .mhd 配套的 .raw 或 .zraw 放到同一文件夹，文件名须与头文件 ElementDataFile 一行完全一致。"
        / "Put the .raw or .zraw that belongs to the .mhd into the same folder, under exactly the name in its ElementDataFile line.";
    AdviceDataLength: "数据文件的长度与头文件不符：多半没有复制完整，请从来源重新复制这一对文件。"
        / "The data file is not as long as its header says: most likely the copy is incomplete, copy the pair again.";
    AdviceScan: "请确认这是三维 CT 的 .mhd 或 .mha 文件；可先用 `fednodule inspect` 查看。"
        / "Make sure that this is a .mhd or .mha of a three-dimensional CT; `fednodule inspect` shows what it holds.";
    AdviceNotFound: "找不到该文件或文件夹，请检查路径。" / "There is no such file or folder; check the path.";
    AdviceUnreadable: "无法读取，请检查文件权限，或重新复制。" / "It cannot be read; check its permissions, or copy it again.";
    AdviceTable: "请按 LUNA16 的格式保存为逗号分隔的 UTF-8 文本（可 gzip 压缩），第一行为列名。"
        / "Save it as LUNA16 does: comma-separated UTF-8 text (gzip is fine), the column names on the first line.";
    AdviceModel: "请使用 `fednodule train` 得到的 .safetensors，或 `fednodule export` 导出的 .pth；文件损坏时请重新复制。"
        / "Use a .safetensors from `fednodule train` or a .pth from `fednodule export`; copy it again if it is damaged.";
    AdviceScoring: "请检查扫描列表、标注与提交结果是否属于同一批数据。"
        / "Check that the list of scans, the annotations and the submission belong together.";
    AdvicePermission: "没有写入权限：请换一个可写的文件夹，或修改其权限。没有留下写了一半的文件。"
        / "No permission to write: choose another folder, or change its permissions. Nothing half-written was left behind.";
    AdviceDiskFull: "磁盘已满或超出配额：请清理空间或换一个磁盘后重试。没有留下写了一半的文件。"
        / "The disk or the quota is full: free some space or use another disk, then try again. Nothing half-written was left behind.";
    AdviceOutput: "请换一个可写的位置后重试。没有留下写了一半的文件。"
        / "Choose another place to write to and try again. Nothing half-written was left behind.";
    AdviceExists: "已有文件不会被覆盖：请换一个名字，或先移走旧文件。"
        / "Existing files are never overwritten: choose another name, or move the old one away.";
    AdviceDevice: "请改用 `--device cpu`（或 auto），或检查显卡驱动。" / "Use `--device cpu` (or auto), or check the graphics driver.";
    AdviceSite: "请检查该中心的文件夹：成对的 .mhd/.raw（可在 subset0…subset9 中），以及与之配套、含有结节的 annotations.csv。"
        / "Check the site's folder: pairs of .mhd/.raw (subset0 … subset9 is fine) and the annotations.csv that belongs to them and has nodules.";
    AdviceSession: "用 `--resume ID` 继续已有的训练任务，或另选一个输出文件夹。"
        / "Go on with an existing session by `--resume ID`, or choose another output folder.";
    AdviceSettings: "请修改该处的设置；`fednodule serve --print-config` 列出所有设置及其说明。"
        / "Change that setting; `fednodule serve --print-config` lists all of them with their meaning.";
    AdviceListen: "该地址已被占用或不属于本机：请停止占用它的程序，或用 `--listen` 换一个端口。"
        / "Something listens there already, or the address is not this machine's: stop it, or choose another port by `--listen`.";
    AdviceDataInUse: "同一数据文件夹只能由一个服务器使用：请先停止另一个，或用 `--data` 换一个文件夹。"
        / "One data folder serves one server: stop the other one, or choose another folder by `--data`.";
    AdviceNewerData: "数据由更新版本的程序写入，请改用该版本或更新的版本。"
        / "A later version of this program wrote the data; use that version, or a later one.";
    AdviceVectors: "确认文件是 FLSA1 参考实现写出的向量；若种子不同，用 `--seed` 给出。"
        / "Make sure that the reference of FLSA1 wrote the file; give the seed with `--seed` where it is another.";
    AdviceNoData: "请用 `--data` 指定 `fednodule serve` 使用的数据文件夹。"
        / "Name the data folder of `fednodule serve` by `--data`.";
    AdviceInterrupted: "已按要求停止；已完成的结果保持完整，再次运行即可继续。"
        / "Stopped as asked; what was finished is complete, run it again to go on.";
    AdviceRun: "若重复出现，请连同以上信息报告问题。" / "If it happens again, report it with the text above.";
    SecondInterrupt: "正在停止……再按一次 Ctrl-C 立即退出。" / "Stopping … press Ctrl-C again to leave at once.";

    // What is wrong with the arguments of a command.
    ArgumentUnknown { argument }: "没有参数 {argument}" / "there is no argument {argument}";
    ArgumentMissing { argument }: "缺少参数：{argument}" / "missing: {argument}";
    ArgumentNeedsValue { argument }: "参数 {argument} 需要一个值" / "{argument} needs a value";
    ArgumentChoice { argument, given, choices }: "参数 {argument} 的值 {given} 不可用，可选：{choices}"
        / "{argument} cannot be {given}; it is one of {choices}";
    ArgumentValue { argument, given, expected }: "参数 {argument} 的值 {given} 不可用：{expected}"
        / "{argument} cannot be {given}: {expected}";
    ArgumentTwice { argument }: "参数 {argument} 只能给一次" / "{argument} can be given only once";
    ArgumentConflict { argument, other }: "参数 {argument} 与 {other} 不能同时使用" / "{argument} cannot be used with {other}";
    CommandUnknown { command }: "没有命令 {command}" / "there is no command {command}";
    CommandMissing: "没有给出命令" / "no command is given";
    DidYouMean { meant }: "；是否想写 {meant}？" / "; did you mean {meant}?";

    // What commands print.
    Series: "序列" / "Series";
    Shape: "体素数 (x × y × z)" / "Voxels (x × y × z)";
    Spacing: "体素间距 (x × y × z, mm)" / "Spacing (x × y × z, mm)";
    Origin: "原点 (x, y, z, mm)" / "Origin (x, y, z, mm)";
    Direction: "方向矩阵" / "Direction";
    ElementType: "体素类型" / "Element type";
    HuRange: "CT 值范围 (HU)" / "CT values (HU)";
    VoxelsSha256: "体素 SHA-256" / "SHA-256 of the voxels";
    PhantomsWritten { scans, kept, nodules, excluded }:
        "合成体模：新生成 {scans} 例，已有 {kept} 例；结节 {nodules} 个，不计分的可疑灶 {excluded} 个"
        / "Synthetic phantoms: {scans} scans generated, {kept} there already; {nodules} nodules, {excluded} excluded findings";
    WrittenTo { path }: "结果在 {path}" / "Results are in {path}";
    ModelWritten { path, sha256 }: "模型已写入 {path}，SHA-256 {sha256}" / "Model written to {path}, SHA-256 {sha256}";
    ExportLosesProvenance: ".pth 只含权重：来源说明与预处理参数只保存在 .safetensors 中。"
        / "A .pth holds weights only: origin and preprocessing are kept in the .safetensors alone.";
    RunsOn { device }: "计算设备：{device}" / "Runs on: {device}";
    RunsOnInstead { device, reason }: "计算设备：{device}（{reason}）" / "Runs on: {device} ({reason})";
    GpuNotBuilt: "本程序编译时未包含 GPU 支持" / "this program was built without GPU support";
    GpuNotFound: "未找到可用的 GPU" / "no usable GPU was found";
    ScanDone { seriesuid, detections, seconds }: "{seriesuid}：{detections} 处检出，用时 {seconds} 秒"
        / "{seriesuid}: {detections} detections in {seconds} s";
    ScanFailed { path }: "未能处理 {path}" / "Could not process {path}";
    BatchDone { done, failed }: "完成 {done} 例，失败 {failed} 例" / "{done} scans done, {failed} failed";
    StageLoading: "读取" / "Loading";
    StagePreprocessing: "预处理" / "Preprocessing";
    StageInference: "推理" / "Inference";
    StageDetection: "检出" / "Detection";
    StageRendering: "绘图" / "Rendering";
    SitePreparing { site }: "{site}：准备影像" / "{site}: preparing scans";
    SiteReady { site, scans, nodules }: "{site}：{scans} 例扫描，{nodules} 个结节" / "{site}: {scans} scans, {nodules} nodules";
    SiteUnknownSeries { site, count }: "{site}：标注表中有 {count} 行属于这里没有的扫描，已忽略。"
        / "{site}: {count} rows of the annotations are of scans that are not here; they are ignored.";
    RoundStarted { round }: "第 {round} 轮" / "Round {round}";
    SiteTraining { site, round, loss }: "第 {round} 轮 {site} 损失 {loss}" / "Round {round}, {site}, loss {loss}";
    SiteTrained { site, loss }: "  {site}：训练完成，损失 {loss}" / "  {site}: trained, loss {loss}";
    SumStarted { sites, threshold, attempt }: "  安全聚合：{sites} 个中心，至少 {threshold} 个合作才能得出总和（第 {attempt} 次）"
        / "  Secure aggregation: {sites} sites, at least {threshold} of them make the sum (attempt {attempt})";
    SumCompleted { sites }: "  已得到 {sites} 个中心的总和；任何单个更新都不可见" / "  The sum of {sites} sites is there; no single update was seen";
    SumGivenUp { reason }: "  安全聚合未完成：{reason}" / "  The secure sum was given up: {reason}";
    SealedUpdates { reason }: "未启用安全聚合：各中心的更新加密并签名后发给协调方，协调方能读到单个更新（{reason}）"
        / "Secure aggregation is off: updates are encrypted to the coordinator and signed, and it reads every single one ({reason})";
    SealedFewSites: "少于三个中心，总和无法掩盖单个更新" / "with fewer than three sites a sum does not hide its parts";
    SealedChosen: "建立任务时这样选择" / "the session was created like this";
    PrivacySpent { site, epsilon }: "  {site}：差分隐私已用 ε = {epsilon}" / "  {site}: differential privacy has cost ε = {epsilon} so far";
    SiteLeftOut { site, reason }: "  {site}：本轮未计入：{reason}" / "  {site}: left out of this round: {reason}";
    SiteLate { site }: "  {site}：超过时限，本轮未计入" / "  {site}: too late for this round";
    RoundCompleted { round, loss, probability }: "第 {round} 轮完成：损失 {loss}，结节体素平均概率 {probability}"
        / "Round {round} done: loss {loss}, mean probability on nodule voxels {probability}";
    HistoryKeptAside { path }: "训练历史无法读取，已移到 {path}" / "The training history could not be read and was moved to {path}";
    SessionCompleted { session, path }: "训练任务 {session} 完成，模型在 {path}" / "Session {session} is done, its model is {path}";
    SessionFailed { session, reason }: "训练任务 {session} 失败：{reason}" / "Session {session} failed: {reason}";
    SessionSuspended { session }: "训练任务 {session} 已暂停，用 `--resume {session}` 继续。"
        / "Session {session} is suspended; go on with `--resume {session}`.";
    NotePhantoms: "合成体模结果：模型在合成体模上训练，未在真实患者影像上验证，不可用于诊断。"
        / "Results on synthetic phantoms: trained on synthetic chests, not validated on real patients, not for diagnosis.";
    NoteQuick: "只是快速走一遍流程：训练步数和评分病例都太少，分数不说明模型的好坏。"
        / "Only a quick walk through the whole job: too few steps and too few scans for the scores to mean anything.";
    NoteUnvalidated: "模型只经参与中心的数据训练，未在独立数据上验证，不可用于诊断。"
        / "Trained on the sites' data only, not validated on independent data, not for diagnosis.";
    DemoPhantoms: "生成合成体模" / "Writing synthetic phantoms";
    DemoStep { contender }: "训练 {contender}" / "Training {contender}";
    DemoScoring { contender }: "评价 {contender}" / "Scoring {contender}";
    DemoScored { contender, cpm, sensitivity }: "{contender}：CPM {cpm}，每例 1 个假阳性时灵敏度 {sensitivity}（合成体模结果）"
        / "{contender}: CPM {cpm}, sensitivity {sensitivity} at 1 false positive per scan (synthetic phantoms)";
    DemoUpload { hospital }: "上传：{hospital}" / "Uploading: {hospital}";
    DemoWatch { address }: "联邦训练正在平台上进行：打开 http://{address}/trainings/1 观看" / "The federated training runs on the platform: watch it at http://{address}/trainings/1";
    DemoRounds: "联邦训练（平台）" / "Federated training (platform)";
    DemoAccount { username, password }: "  登录：{username}　密码：{password}" / "  Log in: {username}  password: {password}";
    DemoModel: "联邦模型" / "Federated model";
    DemoComparison: "对比报告" / "Comparison";
    DemoFigures: "FROC 曲线" / "FROC curves";
    DemoReports: "逐例检测报告" / "Reports of the scans";
    ContenderFederated: "联邦" / "federated";
    ContenderLocal { site }: "仅 {site}" / "{site} alone";
    ContenderPooled: "集中" / "pooled";

    // The comparison of a study.
    ComparisonTitle: "联邦训练效果对比" / "What federation is worth";
    ComparisonVerdict { federated, best, over_best, pooled, to_pooled }:
        "联邦模型 CPM {federated}；最好的单一中心 {best}（联邦减单一中心 {over_best}）；集中训练 {pooled}（联邦减集中 {to_pooled}）。"
        / "Federated CPM {federated}; best single site {best} (federated less that {over_best}); pooled {pooled} (federated less that {to_pooled}).";
    ComparisonMethod { scans, steps, batch }:
        "所有模型从相同的初始权重出发、每步 {batch} 个小块，训练相同的 {steps} 步（联邦：每个中心各 {steps} 步），并在 {scans} 例无人训练过的扫描上按 LUNA16 规则评价。差值的置信区间由对相同扫描的配对自助抽样得到；区间很宽时，不可据此排名。"
        / "All models start from the same weights, train for the same {steps} steps of {batch} patches (federated: {steps} at every site) and are scored by LUNA16's rules on {scans} scans that nobody trained on. Intervals of differences come from a paired bootstrap over the same scans; do not rank by wide ones.";
    ComparisonModels: "模型对比" / "Models compared";
    ComparisonDiameter: "按直径的灵敏度（每例 1 个假阳性时）" / "Sensitivity by diameter (at 1 false positive per scan)";
    ComparisonRounds: "逐轮与各中心" / "Rounds and sites";
    ComparisonExamples: "示例：联邦模型在未训练过的扫描上" / "Examples: the federated model on scans that nobody trained on";
    ComparisonExamplesRule { threshold }:
        "每个文件夹第一例中最大结节所在的横断面；圆圈为置信度不低于 {threshold} 的检出（此阈值下平均每例约 1 个假阳性）。"
        / "The axial slice through the largest nodule of each folder's first scan; circles are detections of confidence {threshold} or more (about 1 false positive per scan).";
    ExampleFound { diameter, confidence }: "真值直径 {diameter} mm，检出置信度 {confidence}"
        / "True diameter {diameter} mm, found with confidence {confidence}";
    ExampleWeak { diameter, confidence }: "真值直径 {diameter} mm，置信度仅 {confidence}，低于阈值，未圈出"
        / "True diameter {diameter} mm, confidence only {confidence}: below the threshold, not circled";
    ExampleMissed { diameter }: "真值直径 {diameter} mm，未检出" / "True diameter {diameter} mm, not found";
    ColumnContender: "训练方式" / "Trained by";
    ColumnCpm: "CPM" / "CPM";
    ColumnInterval: "95% 区间" / "95 % interval";
    ColumnDifference: "联邦减此项" / "Federated less this";
    ColumnSensitivityAtOne: "灵敏度（1 FP/例）" / "Sensitivity (1 FP/scan)";
    ColumnSteps: "步数" / "Steps";
    ColumnPatches: "小块数" / "Patches";
    ColumnSeconds: "用时（秒）" / "Time (s)";
    ColumnRound: "轮" / "Round";
    ColumnSite: "中心" / "Site";
    ColumnTrainingLoss: "训练损失" / "Training loss";
    ColumnValidationLoss: "全局模型验证损失" / "Global model's validation loss";
    ColumnProbability: "结节体素平均概率" / "Mean probability on nodules";
    ColumnStatus: "状态" / "Status";
    AllSites: "合计" / "all";
    StatusTraining: "训练中" / "training";
    StatusTrained: "已计入" / "counted";
    StatusLate: "超时" / "late";
    StatusDropped: "离开" / "left";
    StatusFailed: "失败" / "failed";
    StatusRefused: "被拒绝" / "refused";
    DiameterFrom { from }: "≥ {from} mm" / "≥ {from} mm";
    DiameterBetween { from, to }: "{from}–{to} mm" / "{from}–{to} mm";
    NodulesOf { share, nodules }: "{share}（{nodules} 个）" / "{share} ({nodules})";

    // The web platform, as its commands speak of it.
    ServeReady { address }: "平台已启动：http://{address} （Ctrl-C 停止）" / "Serving on http://{address} (Ctrl-C stops)";
    ServeSetUp { address, token }: "首次使用：请打开 http://{address}/setup ，用设置令牌 {token} 创建管理员。每次启动都会更换令牌。"
        / "First use: open http://{address}/setup and make an administrator with the set-up token {token}. Every start makes a new one.";
    ServeSetUpGiven { address }: "首次使用：请打开 http://{address}/setup ，用设置中的令牌（accounts.setup_token）创建管理员。"
        / "First use: open http://{address}/setup and make an administrator with the token of the settings (accounts.setup_token).";
    ServeLogs { path }: "日志在 {path}" / "The log is in {path}";
    ServeStopped: "平台已停止。" / "Stopped.";
    VectorsMet { sites, threshold, dropped, values }:
        "一致：{sites} 个中心（门限 {threshold}，掉线 {dropped}），{values} 个值逐字节相同"
        / "All the same: {sites} sites (threshold {threshold}, {dropped} dropped out), {values} values byte for byte";
    AuditSound { entries, head }: "审计日志完整：{entries} 条记录，末条散列值 {head}"
        / "The audit log is sound: {entries} entries, last hash {head}";
    AuditBroken { entry, entries, fault }: "审计日志第 {entry} 条记录不可信：{fault}。它之前的 {entries} 条完整。"
        / "Entry {entry} of the audit log cannot be trusted: {fault}. The {entries} before it are sound.";
    AuditGap: "它之前缺少记录" / "entries before it are missing";
    AuditUnlinked: "与前一条不衔接" / "it does not follow the entry before it";
    AuditChanged: "内容被改动" / "its content was changed";
    AuditCutOff: "末尾的记录被删去" / "the last entries were cut off";

    Cpm: "CPM（平均灵敏度）" / "CPM (mean sensitivity)";
    SensitivityAt { rate }: "每例 {rate} 个假阳性时的灵敏度" / "Sensitivity at {rate} false positives per scan";
    EvaluationCounts { true_positives, false_negatives, false_positives, ignored, double_detections }:
        "找到结节 {true_positives} 个，漏诊 {false_negatives} 个，假阳性 {false_positives} 个，不计分 {ignored} 个，重复检出 {double_detections} 个"
        / "{true_positives} nodules found, {false_negatives} missed, {false_positives} false positives, {ignored} ignored, {double_detections} double detections";
    EvaluationScans { scans, candidates }: "{scans} 例扫描，{candidates} 个候选" / "{scans} scans, {candidates} candidates";
    EvaluationUnlistedNodules { count }: "{count} 个标注结节所在的扫描不在扫描列表中，未计入；请检查列表与标注是否配套。"
        / "{count} annotated nodules lie in scans that are not listed and were not counted; check that list and annotations belong together.";
    EvaluationUnlistedMarks { count }: "{count} 个候选所在的扫描不在扫描列表中，未计入。"
        / "{count} candidates lie in scans that are not listed and were not counted.";
    FrocTitle: "FROC 曲线（LUNA16 规则）" / "FROC curve (LUNA16 rules)";
    FrocX: "每例扫描的平均假阳性数" / "Average number of false positives per scan";
    FrocY: "灵敏度" / "Sensitivity";
    FrocCurve: "FROC 曲线" / "FROC curve";
    FrocBand: "95% 置信带（按扫描自助抽样）" / "95 % band (bootstrap over scans)";

    // The report of a scan.
    ReportTitle: "肺结节检测报告" / "Lung nodule detection report";
    ReportNotice: "研究用途，须经医师复核" / "For research use; a physician must review every finding";
    ReportSummary { count, threshold }: "检出 {count} 处可疑结节（置信度不低于 {threshold}）"
        / "Suspected nodules: {count} (confidence {threshold} or more)";
    ReportScan: "影像" / "Scan";
    ReportModel: "模型与计算" / "Model and computation";
    ReportDetections: "检出列表" / "Detections";
    ReportPictures: "图像" / "Pictures";
    ReportNone: "未检出达到阈值的结节；这不能排除结节的存在。"
        / "No detection reaches the threshold; this does not exclude that there are nodules.";
    ReportSearched: "搜索范围" / "Region searched";
    ReportLungs { right, left }: "双肺（右 {right} mL，左 {left} mL）" / "Both lungs (right {right} mL, left {left} mL)";
    ReportBodyBox { reason }: "未能可靠分割双肺，已搜索整个体部：{reason}"
        / "The lungs could not be outlined reliably, the whole body was searched: {reason}";
    ReportOblique: "该影像的轴与人体轴不平行，图像为重采样后的切面。"
        / "The scan is oblique to the patient; the pictures are resampled slices.";
    ReportPicturesLimit { shown, count }: "图像只显示置信度最高的 {shown} 处（共 {count} 处），其余见列表。"
        / "Pictures show the {shown} strongest of {count} detections; the table has all of them.";
    ReportWeakness: "来源与局限" / "Origin and limits";
    ReportNoProvenance: "模型文件未说明其训练数据与局限，结果不可据以判断。"
        / "The model file does not say what it was trained on and where it fails; do not rely on the results.";
    ReportSession: "训练任务" / "Training session";
    ReportRounds: "训练轮数" / "Rounds";
    ReportSites: "参与中心" / "Sites";
    ReportMode: "推理模式" / "Mode";
    ReportDevice: "计算设备" / "Device";
    ReportTimes: "用时（秒）" / "Time (s)";
    ReportMemory: "内存峰值" / "Peak memory";
    ReportUnknown: "未知" / "unknown";
    ModelSha256: "模型 SHA-256" / "SHA-256 of the model";
    ColumnNumber: "编号" / "No.";
    ColumnPosition: "位置 (x, y, z, mm)" / "Position (x, y, z, mm)";
    ColumnVoxel: "体素 (x, y, z，自 0 起)" / "Voxel (x, y, z, from 0)";
    ColumnDiameter: "直径 (mm)" / "Diameter (mm)";
    ColumnVolume: "体积 (mm³)" / "Volume (mm³)";
    ColumnConfidence: "置信度" / "Confidence";
    PlaneAxial: "横断面" / "Axial";
    PlaneCoronal: "冠状面" / "Coronal";
    PlaneSagittal: "矢状面" / "Sagittal";
    PictureCaption { plane, slice, count, numbers }: "{plane} 第 {slice}/{count} 层，检出 {numbers}"
        / "{plane}, slice {slice}/{count}, detection {numbers}";
    PictureOverview { plane, slice, count }: "{plane} 第 {slice}/{count} 层" / "{plane}, slice {slice}/{count}";
    ReportCoordinates: "坐标为 LPS 世界坐标（毫米）：x 向患者左侧，y 向背侧，z 向头侧。"
        / "Positions are LPS world coordinates in millimetres: x to the patient's left, y to the back, z to the head.";
    ReportMadeBy { version }: "由 fednodule {version} 生成" / "Made by fednodule {version}";
}
