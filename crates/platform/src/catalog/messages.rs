//! Sentences that the program composes: refusals, hints, titles of problems.

use super::Language;

/// Makes one variant and two texts of each entry; `{name}` in a text shows the argument of that name.
macro_rules! messages {
    ($($key:ident $({ $($argument:ident),+ })?: $zh:literal / $en:literal;)*) => {
        /// A sentence with its arguments.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) enum Message {
            $(
                #[doc = $en]
                $key $({ $($argument: String),+ })?,
            )*
        }

        impl Message {
            /// The sentence.
            pub(crate) fn text(&self, language: Language) -> String {
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
    // What is wrong with a text that somebody entered.
    BadUsername: "用户名须为 3–32 个字符：小写字母开头，只含小写字母、数字、- 和 _。"
        / "A user name has 3 to 32 characters: a letter first, then letters a-z, digits, - and _.";
    UsernameTaken: "该用户名已被使用，请换一个。" / "This user name is taken; choose another one.";
    BadInstitution: "机构名称须为 2–64 个可见字符。" / "The institution's name has 2 to 64 visible characters.";
    BadEmail: "请填写有效的邮箱地址，例如 name@hospital.example。" / "Enter an e-mail address, such as name@hospital.example.";
    BadAccount: "请填写用户名或邮箱地址。" / "Enter a user name or an e-mail address.";
    NoMailHere: "此服务器未设置邮件，请勿填写邮箱。" / "This server sends no mail; leave the address out.";
    PasswordTooLong { bytes, limit }:
        "密码过长：{bytes} 字节，上限 {limit} 字节（约 24 个汉字），超出部分无法参与校验。"
        / "The password has {bytes} bytes; {limit} is the limit, because nothing beyond it could be checked.";
    PasswordGuessable: "密码太容易被猜到：请加长，例如用几个互不相关的词。"
        / "Too easy to guess: make it longer, for instance with a few unrelated words.";
    PasswordKeyboard: "键盘上相邻的按键很容易被猜到。" / "Neighbouring keys are easy to guess.";
    PasswordRepeats: "重复的字符很容易被猜到。" / "Repeated characters are easy to guess.";
    PasswordCommon: "这是常见密码或与之相近，请换一个。" / "This is a common password, or close to one; choose another.";
    PasswordSequence: "abc、6543 这样的顺序很容易被猜到。" / "Sequences such as abc or 6543 are easy to guess.";
    PasswordDate: "年份和日期很容易被猜到。" / "Years and dates are easy to guess.";
    PasswordWord: "单独一个词很容易被猜到，请多用几个词。" / "A word by itself is easy to guess; use several.";
    PasswordName: "姓名和拼音很容易被猜到。" / "Names are easy to guess.";
    StrengthVeryWeak: "很弱" / "Very weak";
    StrengthWeak: "弱" / "Weak";
    StrengthFair: "一般" / "Fair";
    StrengthGood: "好" / "Good";
    StrengthStrong: "强" / "Strong";

    // What is wrong with the form of a training.
    TrainingRounds: "请填 1 到 20 的整数。" / "Enter a whole number from 1 to 20.";
    TrainingEpochs: "请填 1 到 10 的整数。" / "Enter a whole number from 1 to 10.";
    TrainingPatches: "请填 1 到 100000 的整数；通常为 400。" / "Enter a whole number from 1 to 100000; 400 is usual.";
    TrainingRate: "请填大于 0、不超过 1 的数；通常为 0.001。" / "Enter a number above 0 and at most 1; 0.001 is usual.";
    TrainingBatch: "请填 1 到 64 的整数；4 到 8 适合多数机器。" / "Enter a whole number from 1 to 64; 4 to 8 fits most machines.";
    TrainingPatchSize: "请填 32 到 160 之间 16 的倍数；CPU 用 64，GPU 用 96 到 128。"
        / "Enter a multiple of 16 from 32 to 160; 64 on a CPU, 96 to 128 on a GPU.";
    TrainingMinimumSites: "请填 1 到 1000 的整数，且不多于所选机构。"
        / "Enter a whole number from 1 to 1000, not more than the institutions chosen.";
    TrainingDeadline: "请填 1 到 2592000 秒（30 天），或留空以等待所有机构。"
        / "Enter 1 to 2592000 seconds (30 days), or nothing to wait for every institution.";
    TrainingAlgorithm: "请选择 FedAvg、FedProx、SCAFFOLD、FedAvgM 或 FedAdam。" / "Choose FedAvg, FedProx, SCAFFOLD, FedAvgM or FedAdam.";
    TrainingNetwork: "请从列表中选择网络。" / "Choose a network from the list.";
    TrainingLung: "请填 50 到 5000 毫升的整数；成人通常为 1500。" / "Enter a whole number from 50 to 5000 ml; 1500 is usual for adults.";
    TrainingSampling: "请选择常规或短训练。" / "Choose usual or brief.";
    TrainingPrivacyNoise: "请填 0.1 到 100 的数，或留空表示不启用差分隐私。" / "Enter 0.1 to 100, or leave it empty: differential privacy is off then.";
    TrainingPrivacyClip: "请填大于 0、不超过 1000 的数；通常为 1。" / "Enter a number above 0 and at most 1000; 1 is usual.";
    TrainingPrivacyEpsilon: "请填大于 0、不超过 100 的数；1 以下为强保护，10 以上意义不大。" / "Enter a number above 0 and at most 100; below 1 is strong, above 10 says little.";
    TrainingPrivacyDelta: "请填大于 0、不超过 0.01 的数，应小于患者数的倒数。" / "Enter a number above 0 and at most 0.01, less than one divided by the number of patients.";
    TrainingPrivacyFew: "差分隐私只与安全聚合一起使用：请至少选择三家机构，或留空噪声倍数。" / "Differential privacy goes with secure aggregation only: choose at least three institutions, or leave the noise empty.";
    TrainingPrivacyScaffold: "SCAFFOLD 不能与差分隐私一起使用：噪声会淹没它用来校正的平均梯度。请另选算法，或留空噪声倍数。" / "SCAFFOLD does not go with differential privacy: the noise would drown the mean gradients that it corrects by. Choose another algorithm, or leave the noise empty.";
    TrainingSeed: "请填 0 到 9007199254740991 的整数。" / "Enter a whole number from 0 to 9007199254740991.";
    TrainingInitial: "没有这个模型版本，请从列表中选择。" / "There is no such model version; choose one from the list.";
    TrainingOtherNetwork { network }: "该模型的网络是 {network}，与所选网络不同；请改选网络或起始模型。"
        / "This model's network is {network}, not the one chosen; change the network or the starting model.";
    TrainingNobody: "请至少选择一家机构。" / "Choose at least one institution.";
    TrainingTooFew { chosen, minimum }: "只选了 {chosen} 家，少于最少机构数 {minimum}。"
        / "{chosen} chosen, but every round needs at least {minimum}.";
    TrainingNotReady { name }: "{name} 尚未就绪：需要至少一例完整、已标注且含结节的扫描。"
        / "{name} is not ready: it needs a complete, annotated scan with a nodule.";
    TrainingUnknown { name }: "没有在用的医疗机构账户 {name}。" / "There is no active institution {name}.";
    TextTooLong { limit }: "不得超过 {limit} 个字符。" / "At most {limit} characters.";
    ReasonMissing: "请写明原因，所有相关人员都会看到。" / "Say why; everybody concerned will see it.";

    // What becomes of files that somebody chose, and why they are no scan.
    PairNoData { wanted }: "缺少数据文件：文件头中写的是 {wanted}，请与文件头一起选择。"
        / "The data file is missing: the header names {wanted}; choose both together.";
    PairNoHeader { wanted }: "没有文件头指向它：请与 {wanted} 一起选择。" / "No header names it: choose {wanted} together with it.";
    PairTable: "这是标注表：请在下方“标注”中导入。" / "A table: import it under Annotations below.";
    PairDicom: "暂不支持 DICOM：请先转换为 .mhd/.raw（例如用 SimpleITK 或 3D Slicer）。"
        / "DICOM is not taken yet: convert it to .mhd/.raw first, for instance with SimpleITK or 3D Slicer.";
    PairOther: "不是 MetaImage 文件（.mhd、.raw、.zraw、.mha），已略过。" / "No MetaImage file (.mhd, .raw, .zraw, .mha); left out.";
    PairTwice { series }: "序列 {series} 被选择了两次，只上传第一份。" / "Series {series} was chosen twice; only the first is sent.";
    PairName { limit }:
        "文件名（不含扩展名）即序列号：只能含字母、数字、点、下划线和连字符，最多 {limit} 个字符。请用 SeriesInstanceUID 命名，不要含患者姓名。"
        / "The file's name without its ending is the series UID: letters, digits, dots, _ and - only, at most {limit}. Name it by the SeriesInstanceUID, never by the patient.";
    PairLength { found, expected, claim }: "数据文件有 {found} 字节，文件头（{claim}）要求 {expected} 字节：文件不完整，或不属于这个文件头。"
        / "The data file has {found} bytes, the header ({claim}) asks for {expected}: it is incomplete or belongs to another header.";
    PairLong { found, expected, claim }: "压缩数据有 {found} 字节，文件头（{claim}）最多 {expected} 字节：不属于这个文件头。"
        / "The compressed data has {found} bytes, the header ({claim}) allows {expected} at most: it belongs to another header.";
    PairThere: "该序列已上传，已略过。" / "This series is there already; left out.";
    PairUnfinished: "该序列有一个内容不同的未完成上传：请先在下方删除它。"
        / "This series has an unfinished upload of other files: delete that one below first.";
    PairQuota { used, limit }: "空间配额不足：已用 {used} GiB，上限 {limit} GiB。请删除不需要的扫描，或联系管理员。"
        / "Your quota is used up: {used} of {limit} GiB. Delete scans that you do not need, or ask an administrator.";
    PairDisk: "服务器磁盘空间不足，请联系管理员。" / "The server's disk has too little room left; tell an administrator.";
    PairTooMany { limit }: "未完成的上传最多 {limit} 个：请先完成或删除一些。"
        / "At most {limit} unfinished uploads: finish or delete some first.";
    MetaNone { limit }: "不是 MetaImage 文件头：前 {limit} 字节中没有 ElementDataFile 一行。"
        / "No MetaImage header: no line ElementDataFile within the first {limit} bytes.";
    MetaLine { line }: "文件头第 {line} 行不是“键 = 值”的形式。" / "Line {line} of the header is not of the form `Key = value`.";
    MetaMissing { key, expected }: "文件头缺少 {key}；应为：{expected}。" / "The header has no {key}; expected {expected}.";
    MetaField { line, key, found, expected }: "文件头第 {line} 行：{key} = {found}；应为：{expected}。"
        / "Line {line} of the header: {key} = {found}; expected {expected}.";
    MetaTwice { key, first, second }: "文件头第 {first} 行和第 {second} 行都设置了 {key}：请删去一行。"
        / "Lines {first} and {second} of the header both set {key}: remove one.";
    MetaPackedLength { found, expected }: "压缩数据有 {found} 字节，应为 {expected} 字节：请重新复制文件。"
        / "The compressed data has {found} bytes, expected {expected}: copy the file again.";
    MetaUnpacked { found, expected, claim }: "解压后有 {found} 字节，文件头（{claim}）要求 {expected} 字节。"
        / "Unpacked there are {found} bytes, the header ({claim}) asks for {expected}.";
    MetaZlib { decoded, expected }: "压缩数据已损坏（解压到 {decoded} / {expected} 字节）：请重新复制或重新写出文件。"
        / "The compressed data is damaged (after {decoded} of {expected} bytes): copy the file again or write it anew.";
    MetaNotFinite { count }: "有 {count} 个体素不是有限的数，CT 值应为 HU。" / "{count} voxels are no finite numbers; CT values are HU.";
    MetaOther { what }: "无法读取：{what}。" / "It cannot be read: {what}.";
    UploadEmpty { hu }: "所有体素都是 {hu}：图像是空的。" / "Every voxel is {hu}: the image is empty.";

    // Uploads.
    UploadGoneDetail: "没有这个上传：可能已完成、已删除或已过期。请重新选择文件。"
        / "There is no such upload: it may be finished, deleted or expired. Choose the files again.";
    UploadTitle: "无法接收这些数据" / "These bytes cannot be taken";
    UploadVersion: "请求头 Tus-Resumable 须为 1.0.0。" / "The header Tus-Resumable must be 1.0.0.";
    UploadType: "Content-Type 须为 application/offset+octet-stream。" / "Content-Type must be application/offset+octet-stream.";
    UploadHeader { name, expected }: "请求头 {name} 缺失或无法理解；应为：{expected}。"
        / "The header {name} is missing or makes no sense; expected {expected}.";
    UploadOffset { offset }: "服务器已有 {offset} 字节，请从那里继续。" / "The server has {offset} bytes; go on from there.";
    UploadLarge { limit }: "一次最多 {limit} 字节。" / "At most {limit} bytes at a time.";
    UploadBeyond { bytes }: "该文件应为 {bytes} 字节，不能更多。" / "The file is to have {bytes} bytes and no more.";
    UploadSum: "校验和不符：数据在途中改变，请重新发送这一块。" / "The check sum differs: the bytes changed on their way; send this piece again.";
    UploadChanged: "文件在上传过程中改变了：已接收的部分已丢弃，请重新上传。"
        / "The file changed while it was being sent: what had arrived was dropped; send it again.";
    UploadLocked: "这个上传正由另一个连接进行，请稍后继续。" / "Another connection is sending this; go on in a moment.";
    UploadBusy: "同时上传的连接过多，请稍后继续。" / "Too many connections are sending; go on in a moment.";
    UploadState: "这个上传已接收完毕，正在检查或已被拒绝。" / "Everything has arrived already; it is being checked, or was refused.";
    UploadStalled: "数据中断，请继续上传。" / "The bytes stopped coming; go on with the upload.";
    NoRoomTitle: "磁盘空间不足" / "No room on the disk";
    ScanInUseTitle: "扫描正在使用" / "The scan is in use";
    ScanInUseDetail: "它正在参与训练或推理；结束后才能删除。" / "It is part of a training or an inference; delete it when that has ended.";

    // Annotations.
    TableTitle: "标注表无法导入" / "The table cannot be imported";
    TableHeader { column, found }: "第 1 行须为列名，且 {column} 恰好出现一次；读到：{found}。"
        / "Line 1 must name the columns, {column} once; found: {found}.";
    TableFields { line, found, expected }: "第 {line} 行有 {found} 个字段，应为 {expected} 个。"
        / "Line {line} has {found} fields, expected {expected}.";
    TableField { line, column, found, expected }: "第 {line} 行 {column}：读到“{found}”，应为：{expected}。"
        / "Line {line}, {column}: found `{found}`, expected {expected}.";
    TableText { line, reason }: "第 {line} 行不是 UTF-8 文本表格的一行（{reason}）：请另存为逗号分隔的 UTF-8。"
        / "Line {line} is no line of a UTF-8 table ({reason}): save it as comma-separated UTF-8.";
    TableUnreadable: "文件无法读取，请检查后重试。" / "The file cannot be read; check it and try again.";
    TableEmpty: "表中没有标注。" / "There are no annotations in the table.";
    TableDetail { count }: "有 {count} 行有误，未导入任何内容；请修改后重试。" / "{count} rows are wrong and nothing was imported; mend them and try again.";

    // Why a request was refused: the title of the problem, then what to do.
    InvalidTitle: "填写的内容有误" / "Some entries cannot be used";
    InvalidDetail: "请修改标出的内容后重试。" / "Change what is marked and try again.";
    SetUpDoneTitle: "已完成初始设置" / "Set-up is done";
    SetUpDoneDetail: "管理员已存在，请直接登录。" / "There is an administrator already; log in.";
    WrongTokenTitle: "设置令牌不正确" / "Wrong set-up token";
    WrongTokenDetail: "请复制服务器启动时显示的令牌；每次启动都会更换，只有最新的有效。"
        / "Copy the token that the server showed when it started. Every start makes a new one.";
    WrongCredentialsTitle: "用户名或密码不正确" / "Wrong user name or password";
    WrongCredentialsDetail: "请检查后重试。忘记密码时，请联系管理员获取重设链接。"
        / "Check both and try again. If you have forgotten the password, ask an administrator for a link to set a new one.";
    WrongPasswordTitle: "当前密码不正确" / "The current password is wrong";
    WrongPasswordDetail: "请重新输入当前密码。" / "Enter the current password again.";
    LockedOutTitle: "账户已暂时锁定" / "The account is locked for a while";
    LockedOutDetail { minutes }: "密码错误次数过多，请在 {minutes} 分钟后重试。"
        / "Too many wrong passwords; try again in {minutes} min.";
    TooManyTitle: "请求过于频繁" / "Too many requests";
    TooManyDetail { minutes }: "来自此网络地址的尝试过多，请在 {minutes} 分钟后重试。"
        / "Too many attempts from this network address; try again in {minutes} min.";
    PendingTitle: "账户正在等待批准" / "The account waits for approval";
    PendingDetail: "密码正确；管理员批准后即可登录。" / "The password is right; you can log in when an administrator has approved the account.";
    DisabledTitle: "账户已停用" / "The account is disabled";
    DisabledDetail: "请联系管理员。" / "Ask an administrator.";
    NoSuchAccountTitle: "没有这个账户" / "There is no such account";
    NoSuchAccountDetail: "请刷新列表后重试。" / "Reload the list and try again.";
    NotNowTitle: "账户状态已改变" / "The account's state does not allow this";
    NotNowPending: "该账户正在等待批准，请刷新列表。" / "The account waits for approval; reload the list.";
    NotNowActive: "该账户已在用，请刷新列表。" / "The account is active; reload the list.";
    NotNowDisabled: "该账户已停用，请刷新列表。" / "The account is disabled; reload the list.";
    LastAdministratorTitle: "至少需要一名管理员" / "There must be an administrator";
    LastAdministratorDetail: "这是唯一在用的管理员账户，请先设置另一名管理员。"
        / "This is the only active administrator; make another one first.";
    ResetLinkTitle: "重设链接无效" / "The link is not valid";
    ResetLinkDetail: "链接已使用、已过期或不完整，请向管理员索取新链接。"
        / "It was used, has expired or is incomplete; ask an administrator for a new one.";
    VerificationTitle: "验证链接无效" / "The link is not valid";
    VerificationDetail: "链接已使用、已过期或不完整。请登录一次，系统会重新发送验证邮件。"
        / "It was used, has expired or is incomplete. Log in once: a new mail will be sent.";
    UnverifiedTitle: "邮箱尚未验证" / "The e-mail address is not verified";
    UnverifiedDetail: "密码正确。验证邮件已重新发送，请点击邮件中的链接（每小时的邮件数有上限）。"
        / "The password is right. The mail is on its way again; follow its link (the mails of one hour are limited).";
    NotVerifiedTitle: "邮箱尚未验证" / "The e-mail address is not verified";
    NotVerifiedDetail: "该账户验证邮箱后才能批准。" / "The account can be approved when its address is verified.";
    NoMailTitle: "此服务器未设置邮件" / "This server sends no mail";
    NoMailDetail: "请联系管理员获取重设链接。" / "Ask an administrator for a link to set a new password.";
    UsersUnavailableTitle: "用户数据库暂时无法连接" / "The users' database cannot be reached";
    UsersUnavailableDetail: "没有任何改动。登录仍可使用；恢复连接后请重试。"
        / "Nothing was changed. Logging in still works; try again when the connection is back.";
    ChangedElsewhereTitle: "账户刚在别处被修改" / "The account was changed elsewhere";
    ChangedElsewhereDetail: "没有任何改动。请刷新后重试。" / "Nothing was changed. Reload the page and try again.";
    MailVerifySubject: "请验证邮箱 · 联邦肺结节平台" / "Verify your e-mail address · fednodule";
    MailVerifyLead: "您好：有人用此邮箱在联邦肺结节平台注册或更改了账户。请打开链接验证邮箱。"
        / "Somebody used this address for an account of the nodule platform. Open the link to verify it.";
    MailVerifyNote: "如果不是您本人操作，请忽略此邮件：不验证，此邮箱就不会生效。"
        / "If it was not you, ignore this mail: without the link the address has no effect.";
    MailResetSubject: "设置新密码 · 联邦肺结节平台" / "Set a new password · fednodule";
    MailResetLead: "您好：有人请求为使用此邮箱的账户设置新密码。请打开链接设置。"
        / "Somebody asked to set a new password for an account with this address. Open the link to do so.";
    MailResetNote: "如果不是您本人操作，请忽略此邮件：密码不会改变。" / "If it was not you, ignore this mail: the password stays as it is.";
    MailMovedSubject: "账户邮箱已更改 · 联邦肺结节平台" / "Your account has another address · fednodule";
    MailMovedLead: "您好：此邮箱不再属于以下账户，账户已改用另一个邮箱。"
        / "This address no longer belongs to the account below, which uses another one now.";
    MailMovedNote: "如果不是您本人操作，请立即联系管理员。" / "If it was not you, tell an administrator at once.";
    MailApprovedSubject: "账户已批准 · 联邦肺结节平台" / "Your account is approved · fednodule";
    MailApprovedLead: "您好：管理员已批准您的账户，可以登录了。" / "An administrator has approved your account; you can log in.";
    MailApprovedNote: "此邮件由系统自动发送，请勿回复。" / "Sent by a program; please do not reply.";
    MailAccount { account }: "账户：{account}" / "Account: {account}";
    MailExpires { at }: "链接有效期至 {at}，只能使用一次。" / "The link works once, until {at}.";
    MailSignature: "联邦肺结节平台（研究用途，不用于诊断）" / "fednodule (for research use, not for diagnosis)";

    // What a test of a connection found, and why something does not work.
    TestNoDatabase: "用户保存在本机" / "The users are kept on this machine";
    TestNoDatabaseDetail: "未设置 database.url：用户在数据文件夹的 platform.db 中，users.json 是它的副本。"
        / "database.url is not set: the users are in platform.db in the data folder, with users.json as a copy.";
    TestDatabaseGood: "用户数据库连接正常" / "The users' database answers";
    TestDatabaseBad: "无法使用用户数据库" / "The users' database cannot be used";
    TestDatabaseVersion { version, milliseconds }: "PostgreSQL {version}，往返 {milliseconds} 毫秒" / "PostgreSQL {version}, {milliseconds} ms there and back";
    TestEncrypted: "连接已加密，服务器证书已验证" / "The connection is encrypted and the server's certificate was checked";
    TestNotEncrypted: "连接未加密（sslmode=disable）" / "The connection is not encrypted (sslmode=disable)";
    TestPoolerTransaction: "经过事务模式的连接池：不使用命名的预备语句" / "Behind a pooler in transaction mode: no prepared statement has a name";
    TestPoolerSession: "直接连接，或会话模式的连接池" / "A connection of its own, direct or through a pooler in session mode";
    TestDatabaseUsers { count }: "表 fednodule.users 中有 {count} 个用户" / "{count} users in the table fednodule.users";
    TestDatabaseNoTable: "表 fednodule.users 尚不存在，首次使用时创建" / "The table fednodule.users is not there yet; it is made when it is first used";
    TestDatabaseOpen: "注意：表 fednodule.users 未启用行级安全" / "Mind: row level security is off for the table fednodule.users";
    TestNoMail: "未设置邮件" / "Mail is not set up";
    TestNoMailDetail: "未设置 mail.host：新账户由管理员批准，密码由管理员生成链接重设。"
        / "mail.host is not set: administrators approve new accounts and make the links to set a new password.";
    TestMailGood: "邮件服务器连接正常" / "The mail server answers";
    TestMailGoodDetail: "已连接并登录；没有发送邮件。" / "Connected and logged in; no mail was sent.";
    TestMailBad: "无法使用邮件服务器" / "The mail server cannot be used";
    DatabaseNotYet: "尚未连接，请稍候。" / "Not connected yet; wait a moment.";
    DatabaseUnreachable: "没有响应：请检查 database.url 中的主机名和端口，以及防火墙。" / "Nothing answers: check host and port in database.url, and the firewall.";
    DatabaseTimeout: "未能在 database.timeout_seconds 内响应：数据库过忙或网络过慢。" / "No answer within database.timeout_seconds: the database is busy or the network slow.";
    DatabaseClosed: "连接被中断：数据库正在停止或重新启动。" / "The connection ended: the database stops or starts again.";
    DatabaseTls { reason }: "加密连接不可信（{reason}）：若由自己的机构签发证书，请在 database.ca 中填写其证书文件；Supabase 的证书可在其数据库设置中下载。"
        / "The encrypted connection is not to be trusted ({reason}): where an authority of your own has signed the certificate, name its file in database.ca; Supabase offers its own in the settings of the database.";
    DatabaseCredentials: "用户名或密码不正确：请检查 database.url；密码中的特殊字符须写成 %40 这样的形式。"
        / "Wrong user or password: check database.url; special characters in the password are written like %40.";
    DatabaseMissing: "没有这个数据库：请检查 database.url 末尾的名称。" / "There is no such database: check the name at the end of database.url.";
    DatabaseDenied: "权限不足：该用户须能创建并拥有架构 fednodule。" / "Not allowed: the user must be able to make and own the schema fednodule.";
    DatabaseNewer { found }: "表的版本为 {found}，由更新的程序创建：请升级此服务器。" / "The table has version {found}, made by a later program: upgrade this server.";
    DatabaseNoAdministrator: "数据库中没有在用的管理员，因此不采用它的内容：请在表 fednodule.users 中恢复一名管理员（role = 'server'，status = 'active'）。"
        / "It holds no active administrator, so it is not followed: restore one in the table fednodule.users (role = 'server', status = 'active').";
    DatabaseRefused { code }: "数据库拒绝了请求（SQLSTATE {code}）。" / "The database refused (SQLSTATE {code}).";
    DatabaseCopy: "本机的副本无法更新：请检查磁盘空间与服务器日志。" / "The copy on this machine cannot be brought up to date: check the disk and the server's log.";
    MailUnreachable: "没有响应：请检查 mail.host、mail.port 和防火墙。" / "Nothing answers: check mail.host, mail.port and the firewall.";
    MailTimeout: "未能在 mail.timeout_seconds 内响应。" / "No answer within mail.timeout_seconds.";
    MailTls: "加密连接不可信，或服务器不支持：请检查 mail.encryption 与 mail.ca。" / "The encrypted connection is not to be trusted, or not offered: check mail.encryption and mail.ca.";
    MailCredentials: "登录被拒绝：请检查 mail.username 与 mail.password。" / "The log-in was refused: check mail.username and mail.password.";
    MailRefused { code }: "邮件服务器拒绝（代码 {code}）。" / "The mail server refused (code {code}).";
    MailUnwritable: "无法生成邮件：请检查 mail.from。" / "The mail could not be made: check mail.from.";
    NoTrainingTitle: "没有这个训练任务" / "There is no such training";
    NoTrainingDetail: "编号有误，或您的机构没有参加。" / "The number is wrong, or your institution does not take part.";
    TrainingStateTitle: "任务状态不允许此操作" / "The training's state does not allow this";
    TrainingStateDetail: "状态刚刚改变，请看页面上的最新状态。" / "It has just changed; look at the page again.";
    NoModelTitle: "没有这个模型版本" / "There is no such model version";
    NoModelDetail: "请刷新列表后重试。" / "Reload the list and try again.";
    ModelCurrentTitle: "该版本已在使用" / "This version is in use already";
    ModelCurrentDetail: "请刷新列表。" / "Reload the list.";
    ModelDamagedTitle: "模型文件与记录不符" / "The model's file is not what was recorded";
    ModelDamagedDetail: "文件缺失或已被改动，不能使用。请从备份恢复，或启用其他版本。"
        / "It is missing or was changed and cannot be used. Restore it from a backup, or promote another version.";
    ExportFailedTitle: "无法生成 .pth 文件" / "The .pth could not be made";
    ExportFailedDetail: "请确认磁盘空间后重试，或下载 .safetensors。" / "Check the disk's free space and try again, or download the .safetensors.";
    SignInTitle: "请先登录" / "Log in first";
    SignInDetail: "登录已过期，或尚未登录。" / "The session has ended, or there was none.";
    ForbiddenTitle: "没有权限" / "Not allowed";
    ForbiddenDetail: "此功能仅限管理员（服务端）使用。" / "This is for administrators (server) only.";
    OriginTitle: "请求来源不符" / "The request comes from another site";
    OriginDetail: "只接受本站页面发出的修改请求。若经代理访问，请在设置 server.public_url 中填写用户使用的地址。"
        / "Changes are accepted from this server's own pages only. Behind a proxy, set server.public_url to the address that users type.";
    CsrfTitle: "页面已过期" / "The page is out of date";
    CsrfDetail: "请刷新页面后重试。" / "Reload the page and try again.";
    NotFoundTitle: "没有这个页面" / "There is no such page";
    NotFoundDetail: "地址有误，或内容已移走。" / "The address is wrong, or what was there is gone.";
    MethodTitle: "不支持这种请求方法" / "Method not allowed";
    MethodDetail: "该地址存在，但不接受这种方法。" / "There is such an address, but it does not take this method.";
    BodyTitle: "请求内容无法读取" / "The request cannot be read";
    UnreadableDetail: "请检查地址与参数。" / "Check the address and its parameters.";
    BodyDetail { reason }: "需要一个 JSON 对象：{reason}" / "Expected a JSON object: {reason}";
    BodyType: "Content-Type 须为 application/json" / "Content-Type must be application/json";
    BodyLarge { limit }: "不得超过 {limit} 字节" / "it must not exceed {limit} bytes";
    BodySyntax { place }: "{place} 不是有效的 JSON" / "no valid JSON at {place}";
    BodyField { what }: "字段不符：{what}" / "the fields do not fit: {what}";
    QueryDetail { parameter, expected }: "参数 {parameter} 须为{expected}" / "Parameter {parameter} must be {expected}";
    ExpectedNumber { from, to }: " {from} 到 {to} 的整数" / "a whole number from {from} to {to}";
    ExpectedWord { words }: "以下之一：{words}" / "one of {words}";
    ExpectedDecimal { from, to }: " {from} 到 {to} 的数" / "a number from {from} to {to}";
    ExpectedPoint: " x,y,z（毫米）" / "x,y,z in millimetres";
    ExpectedMarks { most }: "编号:x,y,z,直径（毫米），以分号分隔，最多 {most} 个"
        / "number:x,y,z,diameter in millimetres, with semicolons between and at most {most} of them";
    NoSuchSliceTitle: "没有这一层" / "There is no such slice";
    NoSuchSliceDetail { count, last }: "该方向共有 {count} 层，编号 0 到 {last}。"
        / "There are {count} slices in this plane, numbered 0 to {last}.";
    ScanUnreadableTitle: "影像文件无法读取" / "The scan's file cannot be read";
    ScanUnreadableDetail: "文件可能已损坏或被移走。请重新上传该影像；若重复出现，请管理员检查磁盘。"
        / "It may be damaged or gone. Upload the scan again; if this happens again, an administrator should check the disk.";
    PictureLargeTitle: "图像过大" / "The picture would be too large";
    PictureLargeDetail: "请增大 pixel_mm 或减小 field_mm。" / "Ask for larger pixels (pixel_mm) or a smaller field (field_mm).";
    TimeoutTitle: "请求超时" / "The request took too long";
    TimeoutDetail: "请稍后重试。" / "Try again later.";
    InternalTitle: "服务器出错" / "The server failed";
    InternalDetail: "操作可能没有完成。请稍后重试；若重复出现，请管理员查看服务器日志。"
        / "It may not have been done. Try again later; if it happens again, an administrator should look into the server's log.";

    // Inference.
    InferenceTitle: "无法加入队列" / "This cannot be queued";
    InferenceScans { most }: "请选择 1–{most} 个扫描。" / "Choose 1 to {most} scans.";
    InferenceThreshold: "最低置信度须在 0 到 1 之间。" / "The least confidence is between 0 and 1.";
    InferenceNoScan { id }: "没有编号为 {id} 的扫描，或它不属于您。" / "There is no scan {id}, or it is not yours.";
    InferenceNoModel: "还没有可用的模型：请管理员先完成一次训练并启用模型。"
        / "There is no model in use yet: an administrator trains one and makes it current.";
    InferenceNoSuchModel: "没有这个模型版本，可能已被删除；请刷新页面后重选。"
        / "There is no such model version; it may have been deleted. Reload the page and choose again.";
    InferenceWaiting { waiting, most }: "您已有 {waiting} 个任务在排队，上限为 {most} 个；请等一部分完成后再提交。"
        / "You have {waiting} jobs waiting, {most} is the limit; wait until some are done.";
    InferenceStateTitle: "现在不能这样做" / "Not possible now";
    InferenceEnded: "这个任务已经结束。" / "This job has ended already.";
    InferenceNotEnded: "这个任务还没有结束，请先取消。" / "This job has not ended yet; cancel it first.";
}
