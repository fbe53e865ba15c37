"""Takes what somebody lost away from live sessions: follows the change log, calls the brokers' management APIs."""
