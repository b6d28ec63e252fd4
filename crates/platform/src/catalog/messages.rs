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
