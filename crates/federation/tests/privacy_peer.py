"""dp-accounting's side of tests/it/privacy.rs: [[delta, [[q, sigma, steps], …]], …] on standard input, epsilons on standard output."""
import json
import sys

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant


def epsilon(delta, mechanisms):
    accountant = RdpAccountant()
    for q, sigma, steps in mechanisms:
        accountant.compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)
    return accountant.get_epsilon(delta)


json.dump([float(epsilon(delta, mechanisms)) for delta, mechanisms in json.load(sys.stdin)], sys.stdout)
