"""The account of steps that several workers run at the same time."""

import threading

from mox_core.engine.parameter_server.step_ledger import StepLedger


def _result(done, *, more=True, worker=1, fresh=True):
    return {"fresh": fresh, "done": done, "samples": 2 * done, "more": more, "worker": worker}


def test_no_more_steps_are_handed_out_than_are_to_be_done():
    ledger = StepLedger(10)
    first, second = ledger.take(6), ledger.take(6)
    assert (first.steps, second.steps) == (6, 3)  # the last one is the chief's
    assert ledger.take_own(5) is None
    ledger.account(first, _result(6))
    assert ledger.take_own(5) is None
    ledger.account(second, _result(3))
    assert ledger.take_own(5).steps == 1
    assert ledger.take_own(5) is None
    assert ledger.samples == 18


def test_without_a_limit_as_many_are_handed_out_as_are_wanted():
    ledger = StepLedger(None)
    assert (ledger.take(1000).steps, ledger.take_own(1000).steps) == (1000, 1000)


def test_steps_of_a_call_that_was_run_twice_count_by_the_global_step():
    ledger = StepLedger(10)
    call = ledger.take(6)
    own = ledger.take_own(3)
    ledger.account(call, _result(0, fresh=False))  # its worker died, and another came to it
    ledger.reconcile(4)
    assert ledger.take_own(9) is None  # the chief's call is still under way
    ledger.account(own, _result(3, worker=0))
    assert ledger.take_own(9).steps == 1
    ledger.give_up()
    ledger.reconcile(5)
    assert ledger.take_own(9).steps == 5


def test_what_comes_back_after_it_was_given_up_does_not_count_again():
    ledger = StepLedger(10)
    call = ledger.take(4)
    ledger.give_up()
    ledger.reconcile(1)
    ledger.account(call, _result(4))
    assert ledger.take(20).steps == 8
    assert ledger.news() == []


def test_workers_wait_for_steps_and_are_let_go():
    ledger = StepLedger(3)
    own = ledger.take_own(3)
    waiting = [threading.Thread(target=lambda: taken.append(ledger.take(9))) for _ in range(2)]
    taken = []
    for thread in waiting:
        thread.start()
    ledger.account(own, _result(1, worker=0))
    waiting_for = [thread for thread in waiting if thread.is_alive()]
    while len(waiting_for) == 2:
        waiting_for = [thread for thread in waiting if thread.is_alive()]
    assert [call.steps for call in taken] == [1]
    ledger.close()
    for thread in waiting:
        thread.join(60)
    assert taken[1] is None


def test_the_other_workers_have_the_last_step_when_the_chief_has_no_input():
    ledger = StepLedger(4)
    ledger.account(ledger.take_own(1), _result(0, more=False, worker=0))
    ledger.keep_nothing()
    assert ledger.ended == {0}
    assert ledger.take(9).steps == 4


def test_an_error_lets_nothing_more_begin():
    ledger = StepLedger(4)
    error = ValueError("no")
    ledger.fail(ledger.take(1), error)
    assert ledger.error is error
    assert ledger.take(1) is None
