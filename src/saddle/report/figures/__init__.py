"""The figures of a report: functions of a study that give a matplotlib figure, or None where there is nothing to show.

Free of torch. Colours are those of Okabe and Ito, which colour-blind readers can tell apart; on colour maps darker is
better.
"""
