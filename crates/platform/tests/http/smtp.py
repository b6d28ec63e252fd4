"""A real SMTP server (aiosmtpd) that prints every mail it takes as one line of JSON.

Arguments: port (0 for any), mode ("plain" or "starttls"), certificate, key, user, password. The first line it prints is its port.
A recipient whose name begins with "never" is refused for good, one that begins with "later" for now.
"""

import email
import email.policy
import json
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, mode, certificate, key, user, password = (sys.argv[1:] + [""] * 6)[:6]


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("never"):
            return "550 no such mailbox"
        if address.startswith("later"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": message["subject"],
            "automatic": message["auto-submitted"],
            "type": message.get_content_type(),
            "text": message.get_content(),
            "encrypted": session.ssl is not None,
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    fits = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=fits, handled=False)


options = {}
if mode == "starttls":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    options = {"tls_context": context, "require_starttls": True}
if user:
    options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": mode == "starttls"}


class AnyPort(Controller):
    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


controller = AnyPort(Handler(), hostname="127.0.0.1", port=int(port), **options)
controller.start()
print(controller.server.sockets[0].getsockname()[1], flush=True)
while True:
    time.sleep(3600)
